"""TRL's GRPOTrainer with prompts computed once, evaluation on held-out pivots, exact resumption and the additions.

Loss, precision and distribution are TRL's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from pivotmine.errors import UserError
from pivotmine.sampling.attention import use_grouped_attention
from pivotmine_trainer.cli.console import counted, is_first_process, quiet_unscorable, say, warn
from pivotmine_trainer.extras import retrieval
from pivotmine_trainer.extras.curriculum import Curriculum, CurriculumSampler
from pivotmine_trainer.extras.demonstration_loss import DemonstrationLoss
from pivotmine_trainer.extras.echo import Echo
from pivotmine_trainer.extras.watch import Watch
from pivotmine_trainer.train import advantages, heldout, resume, samples, shared_prefix, shared_sampling
from pivotmine_trainer.train.heldout import HeldOut
from pivotmine_trainer.train.prompt_sampler import PromptSampler, WeightedSampler
from pivotmine_trainer.train.shared_prefix import Group, SharedPrefix

CURRICULUM_FILE = "curriculum.json"
_LOGGED = ("outcome", "detail", "watch_reward", "watch_outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Additions:
    """What the options add to TRL's objective."""

    shared_prefix: str = "packed"
    """`packed`, `cached`, or `false`: the prompt once per sample, as TRL computes it."""
    advantages: str = "grpo"
    invalid_action_advantage: float | None = None
    curriculum: Curriculum | None = None
    echo: Echo | None = None
    demonstrations: DemonstrationLoss | None = None
    retrieval_prompts: int = 0
    watch: Watch | None = None
    weights: list[float] | None = None
    """Weights of the training rows, by which prompts are drawn with replacement."""
    on_heldout: Callable[[HeldOut], None] = lambda found: None
    write_card: Callable[[], None] | None = None


class PivotTrainer(GRPOTrainer):
    """A GRPOTrainer on rows of the pivot dataset."""

    def __init__(self, *args: Any, additions: Additions | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._additions = additions or Additions()
        self._heldout: list[dict[str, Any]] = []
        self._scored: list[dict[str, Any]] = []
        self._logprobs: list[list[float]] | None = None
        self._part = (0, -1)  # the step of the last file of samples, and its number in that step
        self._writes_samples, self.log_completions = self.log_completions, False  # TRL's table loses samples
        self._own_sampling = shared_sampling.own_reason(self)
        self._shared: dict[str, SharedPrefix] = self._share_prefixes()
        self._is_checked = False

    # --- one prompt, many actions

    def _share_prefixes(self) -> dict[str, SharedPrefix]:
        args: Any = self.args
        way, model = self._additions.shared_prefix, self._unwrapped(self.model)
        if self._own_sampling is None:
            use_grouped_attention(model)
        elif not self.use_vllm:
            say(f"sampling  each prompt once per sample: {self._own_sampling}")
        if way == "false":
            return {}
        if reason := shared_prefix.dense_reason(self.model, aux_loss=self.aux_loss_enabled):
            say(f"prefixes  each prompt once per sample: {reason}")
            return {}
        if way == "cached" and (self.args.gradient_checkpointing or self.is_fsdp_enabled or self.is_deepspeed_enabled):
            say("prefixes  packed, not cached: gradient checkpointing or sharded weights need one pass without a cache")
            way = "packed"
        if (args.per_device_train_batch_size * args.steps_per_generation) % args.num_generations:
            say("prefixes  a group is spread over several processes, and each of them computes its prompt")
        shared = {"policy": SharedPrefix(model, way)}
        if self.ref_model is not None and shared_prefix.dense_reason(self.ref_model, aux_loss=False) is None:
            shared["reference"] = SharedPrefix(self._unwrapped(self.ref_model), way)
        return shared

    def _unwrapped(self, model: Any) -> Any:
        """The transformers model inside the wrappers of accelerate and peft."""
        plain: Any = self.accelerator.unwrap_model(model)
        return plain.get_base_model() if hasattr(plain, "peft_config") else plain

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,  # noqa: FBT001 - TRL's
        compute_aux_loss: bool = False,  # noqa: FBT001
        **images: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """As TRL's, (B, C) each, but computes a group's prompt once; 0 where a completion is masked."""
        if not self._is_training and not self.use_vllm:  # an evaluation does not use them
            return torch.zeros(input_ids.shape[0], logits_to_keep, device=input_ids.device), None, None
        shared = self._shared.get("reference" if model is self.ref_model else "policy")
        dense = super()._get_per_token_logps_and_entropies
        more: dict[str, Any] = {"compute_entropy": compute_entropy, "compute_aux_loss": compute_aux_loss, **images}
        groups = shared_prefix.groups_of(input_ids, attention_mask, logits_to_keep) if shared else []
        # A router's loss counts every token, single samples share nothing, and an empty prompt has no last token that
        # could predict an action's first.
        if (
            shared is None
            or compute_aux_loss
            or all(len(g.rows) == 1 for g in groups)
            or not all(g.prompt for g in groups)
        ):
            return dense(model, input_ids, attention_mask, logits_to_keep, batch_size, **more)
        if not self._is_checked and model is not self.ref_model:
            self._is_checked = True
            if not self._agree(model, input_ids, attention_mask, logits_to_keep, groups[0], shared):
                self._shared = {}
                return dense(model, input_ids, attention_mask, logits_to_keep, batch_size, **more)
        # batch_size counts samples, but a pass takes whole groups.
        at_once = max(1, (batch_size or len(input_ids)) // max(len(group.rows) for group in groups))
        found = [
            shared.logps(self, model, input_ids, groups[start : start + at_once], logits_to_keep)
            for start in range(0, len(groups), at_once)
        ]
        logps = torch.stack([logps for logps, _ in found]).sum(0)  # each part is 0 at the others' samples
        entropies = [entropy for _, entropy in found if entropy is not None]
        return logps, torch.stack(entropies).sum(0) if compute_entropy else None, None

    @torch.no_grad()
    def _agree(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, keep: int, group: Group, shared: SharedPrefix
    ) -> bool:
        """Whether one group's log-probabilities equal those of the dense way, in eval mode; prints a line if not."""
        rows, dtype = group.rows, self._unwrapped(self.model).dtype
        is_half = self.args.bf16 or self.args.fp16 or dtype not in shared_prefix.TOLERANCE
        tolerance = shared_prefix.TOLERANCE_HALF if is_half else shared_prefix.TOLERANCE[dtype]
        one = group._replace(rows=list(range(len(rows))))
        before = shared.num_computed
        model.eval()
        try:
            expected, _, _ = super()._get_per_token_logps_and_entropies(model, ids[rows], mask[rows], keep)
            found, _ = shared.logps(self, model, ids[rows], [one], keep)
            real = mask[rows][:, -keep:].bool()
            apart = (found - expected)[real].abs().mean() if real.any() else found.new_zeros(())
            words = f"log-probabilities differ by {apart.item():.2g} on average"
        except (ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            apart, words = torch.tensor(torch.inf, device=ids.device), f"the model refuses it ({type(error).__name__})"
        finally:
            model.train()
        shared.num_computed = before
        # All processes must take the same way, or sharded models would wait for each other for ever.
        gathered: Any = self.accelerator.gather(apart.nan_to_num(torch.inf).reshape(1))
        worst = gathered.max().item()
        if worst > tolerance:
            say(f"prefixes  each prompt once per sample: {words} from those of shared prompts")
        return worst <= tolerance

    def _generate_single_turn(self, prompt_ids: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        """Sample from the policy itself, without dropout. Each prompt is computed once, if that is possible."""
        with self._without_dropout():
            if self._own_sampling is None and images is None:
                found = shared_sampling.sample(self, prompt_ids)
            else:
                found = super()._generate_single_turn(prompt_ids, images, *args, **kwargs)
        self._logprobs = found[1]
        return found

    @contextmanager
    def _without_dropout(self) -> Any:
        model: Any = self.model
        was_training = model.training
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """As TRL's, but shuffles whole groups: with shuffled samples, each pass would have many prompts."""
        if not self._is_training:
            return super()._prepare_inputs(generation_batch)
        args: Any = self.args
        kept: Any = self._buffered_inputs
        if self._step % (args.steps_per_generation * self.num_iterations) == 0 or kept is None:
            batch = self._shuffled(self._generate_and_score_completions(generation_batch))
            kept = self._buffered_inputs = split_tensor_dict(batch, args.steps_per_generation)
        return kept[self._step % args.steps_per_generation]

    def _shuffled(self, batch: dict[str, Any]) -> dict[str, Any]:
        num_rows, size = len(batch["prompt_ids"]), int(self.num_generations or 1)
        size = size if num_rows % size == 0 else 1  # a process may have parts of groups
        groups = torch.arange(num_rows).view(-1, size)
        order = groups[torch.randperm(len(groups))].flatten()
        is_rows = {name: isinstance(v, torch.Tensor) and v.ndim > 0 and len(v) == num_rows for name, v in batch.items()}
        return {name: value[order.to(value.device)] if is_rows[name] else value for name, value in batch.items()}

    # --- rewards, advantages, and the stored columns of each sample

    @property
    def _is_training(self) -> bool:
        model: Any = self.model
        return model.training

    def _get_train_sampler(self, dataset: Any = None) -> PromptSampler:
        sampler: Any = super()._get_train_sampler(dataset)
        if self._additions.curriculum is not None:
            return CurriculumSampler.of(sampler, self._additions.curriculum)
        if self._additions.weights is not None:
            return WeightedSampler.by(sampler, self._additions.weights)
        return PromptSampler.like(sampler)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        """As TRL's: rewards of all processes, (samples, 1). Also keeps each sample with its verdict."""
        with quiet_unscorable():
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        first = self.accelerator.process_index * len(inputs)
        logged = {name: self._pending_extra_logs.pop(name, None) or [None] * len(inputs) for name in _LOGGED}
        self._pending_extra_logs.pop("state_id", None)
        local = [
            {
                "split": "train" if self._is_training else "validation",
                "step": self.state.global_step + int(self._is_training),
                "state_id": row.get("state_id"),
                "domain": row.get("domain"),
                "cluster": row.get("task_id") or row.get("trajectory_id") or row.get("state_id"),
                "completion": self._tokenizer.decode(ids, skip_special_tokens=False),
                "completion_ids": list(ids),
                "logprobs": None if self._logprobs is None else list(self._logprobs[place]),
                "budget": self.max_completion_length,
                "pivot_reward": None if reward != reward else reward,
                **{name: values[place] for name, values in logged.items()},
            }
            for place, (row, ids, reward) in enumerate(
                zip(inputs, completion_ids_list, rewards[first : first + len(inputs), 0].tolist(), strict=True)
            )
        ]
        self._scored = gather_object(local)
        self._say_unscored()
        if not self._is_training:
            self._heldout += self._scored
        elif self._additions.curriculum is not None:
            domains = [row["domain"] for row in self._scored]
            self._additions.curriculum.learn(domains, rewards[:, 0].tolist(), int(self.num_generations or 1))
        return rewards

    def _say_unscored(self) -> None:
        unscored = [row for row in self._scored if row["pivot_reward"] is None]
        if unscored:
            one = unscored[0]
            warn(
                f"{len(unscored)} of {counted(len(self._scored), 'sample')} without a reward, and so without a loss; "
                f"the first: state {one['state_id']}, {one['outcome']}, {one['detail']}"
            )

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        if not self._is_training:
            return output
        output["advantages"] = self._advantages(output["advantages"])
        self._keep_samples(output["advantages"])
        if self._additions.watch is not None:
            rewards, watched = ([row[name] for row in self._scored] for name in ("pivot_reward", "watch_reward"))
            for words in self._additions.watch.learn(rewards, watched, [str(row["outcome"]) for row in self._scored]):
                warn(f"step {self.state.global_step + 1}: {words}")
        if self._additions.echo is not None:
            output |= self._additions.echo.batch(self, inputs)
        if self._additions.retrieval_prompts:
            self._log_retrieval(output)
        return output

    def _advantages(self, of_trl: torch.Tensor) -> torch.Tensor:
        """Advantages of this process's samples, by `--advantages` and `--invalid_action_advantage`."""
        first, mine = self.accelerator.process_index * len(of_trl), of_trl
        if self._additions.advantages != "grpo":
            rewards = torch.tensor(
                [torch.nan if r["pivot_reward"] is None else r["pivot_reward"] for r in self._scored]
            )
            groups = advantages.group_advantages(
                rewards.view(-1, int(self.num_generations or 1)), self._additions.advantages
            )
            mine = groups.flatten()[first : first + len(of_trl)].to(of_trl)
        is_invalid = [row["outcome"] == "invalid_call" for row in self._scored[first : first + len(of_trl)]]
        flags = torch.tensor(is_invalid, device=mine.device)
        return advantages.with_invalid(mine, flags, self._additions.invalid_action_advantage)

    def _keep_samples(self, worth: torch.Tensor) -> None:
        gathered = gather_object(worth.tolist())
        for row, advantage in zip(self._scored, gathered, strict=True):
            row["advantage"] = advantage
        step = self.state.global_step + 1
        self._part = (step, self._part[1] + 1 if self._part[0] == step else 0)
        if self._writes_samples and is_first_process():
            samples.write(Path(str(self.args.output_dir)), self._scored, self._part[1])

    def _log_retrieval(self, output: dict[str, Any]) -> None:
        found = retrieval.accuracy(self, output, self._additions.retrieval_prompts)
        if found is not None:
            gathered: Any = self.accelerator.gather(torch.tensor([found], device=self.accelerator.device))
            right, chance = gathered.mean(0)
            self._metrics["train"]["retrieval/accuracy"].append(right.item())
            self._metrics["train"]["retrieval/chance"].append(chance.item())

    # --- losses

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's; before the first pass of a step, adds the gradient of the demonstrations."""
        demonstrations = self._additions.demonstrations
        if demonstrations is not None and self._step % self.current_gradient_accumulation_steps == 0:
            model = args[0] if args else kwargs["model"]
            model.train()  # an evaluation leaves it in eval mode until TRL's step, which comes later
            demonstrations.backward(self, model)
        return super().training_step(*args, **kwargs)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        loss = super()._compute_loss(model, inputs)
        if self._additions.echo is not None and self._is_training:
            loss = loss + self._additions.echo.loss(self, model, inputs)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        norms = self._metrics["train"].get("demonstration/grad_norm")
        if norms and logs.get("grad_norm"):
            logs["demonstration/grad_norm_share"] = sum(norms) / len(norms) / logs["grad_norm"]
        super().log(logs, start_time)

    # --- held out

    def prediction_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Sample and score. A loss on held-out samples would cost a third of the time, and nothing uses it."""
        self._prepare_inputs(inputs)
        return None, None, None

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's, with its own random numbers: all evaluations have the same ones, and training's are not used up."""
        self._heldout = []
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.args.seed + self.accelerator.process_index)
            output: Any = super().evaluation_loop(*args, **kwargs)
        rows = samples.first_of_each(self._heldout, int(self.num_generations_eval or 1))
        found = heldout.summarise(self.state.global_step, rows)
        is_blind = found is not None and found.unproven_share == 1 and self.state.global_step == 0
        if found is None or is_blind:  # else a training in which no sample was ever judged would look successful
            raise UserError(
                f"held-out pivots at step {self.state.global_step}: the verifiers gave no reward "
                f"({counted(len(self._heldout), 'sample')}); check that they work here, or name another --verifier"
            )
        output.metrics.update(heldout.metrics(found))
        if is_first_process():
            heldout.append(Path(str(self.args.output_dir)), found)
            if self._writes_samples:
                samples.write(Path(str(self.args.output_dir)), rows)
        self._additions.on_heldout(found)
        return output

    # --- checkpoints

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Save what a resumption needs, before TRL writes trainer_state.json, which marks a checkpoint as complete."""
        super()._save_optimizer_and_scheduler(output_dir)
        if self._additions.curriculum is not None and self.args.should_save:
            self._additions.curriculum.save(Path(output_dir) / CURRICULUM_FILE)
        if self._additions.watch is not None and self.args.should_save:
            self._additions.watch.save(Path(output_dir))
        resume.save_samples(Path(output_dir), self)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            resume.load_samples(Path(checkpoint), self)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write our card: TRL's lacks policy, dataset, verifier and figures."""
        if self._additions.write_card is not None and is_first_process():
            self._additions.write_card()
