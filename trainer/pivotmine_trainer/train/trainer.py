"""TRL's GRPOTrainer, with what it leaves open: held-out pivots state by state, an order that resumes, three additions.

Everything about generation, rewards' normalisation, loss, precision and distribution is TRL's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from trl.trainer.grpo_trainer import GRPOTrainer

from pivotmine.errors import UserError
from pivotmine_trainer.cli.console import is_first_process
from pivotmine_trainer.extras import retrieval
from pivotmine_trainer.extras.curriculum import Curriculum, CurriculumSampler
from pivotmine_trainer.extras.echo import Echo
from pivotmine_trainer.train import heldout
from pivotmine_trainer.train.heldout import HeldOut
from pivotmine_trainer.train.prompt_sampler import PromptSampler

CURRICULUM_FILE = "curriculum.json"


class PivotTrainer(GRPOTrainer):
    """A GRPOTrainer on rows of the pivot dataset."""

    def __init__(
        self,
        *args: Any,
        curriculum: Curriculum | None = None,
        echo: Echo | None = None,
        retrieval_prompts: int = 0,
        on_heldout: Callable[[HeldOut], None] = lambda found: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._curriculum, self._echo, self._retrieval_prompts = curriculum, echo, retrieval_prompts
        self._on_heldout = on_heldout
        self._heldout_samples: list[tuple[str, float | None]] = []

    @property
    def _is_training(self) -> bool:
        model: Any = self.model
        return model.training

    def _get_train_sampler(self, dataset: Any = None) -> PromptSampler:
        sampler: Any = super()._get_train_sampler(dataset)
        if self._curriculum is not None:
            return CurriculumSampler.of(sampler, self._curriculum)
        return PromptSampler.like(sampler)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        """TRL's rewards of all processes, (samples, 1); each is kept with its state, or with its domain."""
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if not self._is_training:
            states = gather_object([row["state_id"] for row in inputs])
            self._heldout_samples += heldout.as_samples(states, rewards[:, 0].tolist())
        elif self._curriculum is not None:
            domains = gather_object([row["domain"] for row in inputs])
            self._curriculum.learn(domains, rewards[:, 0].tolist(), int(self.num_generations or 1))
        return rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        if self._is_training and self._echo is not None:
            output |= self._echo.batch(self, inputs)
        if self._is_training and self._retrieval_prompts:
            self._log_retrieval(output)
        return output

    def _log_retrieval(self, output: dict[str, Any]) -> None:
        found = retrieval.accuracy(self, output, self._retrieval_prompts)
        if found is not None:
            gathered: Any = self.accelerator.gather(torch.tensor([found], device=self.accelerator.device))
            right, chance = gathered.mean(0)
            self._metrics["train"]["retrieval/accuracy"].append(right.item())
            self._metrics["train"]["retrieval/chance"].append(chance.item())

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        loss = super()._compute_loss(model, inputs)
        if self._echo is not None and self._is_training:
            loss = loss + self._echo.loss(self, model, inputs)
        return loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's, with random numbers of its own: the same before and after, and training's are left alone."""
        self._heldout_samples = []
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.args.seed + self.accelerator.process_index)
            output: Any = super().evaluation_loop(*args, **kwargs)
        num_generations = int(self.num_generations_eval or 1)
        found = heldout.summarise(self.state.global_step, self._heldout_samples, num_generations)
        if found is None:  # else a training without one judgement would end as one that went well
            raise UserError(
                f"held-out pivots at step {self.state.global_step}: the verifiers gave no reward for any of "
                f"{len(self._heldout_samples)} samples; see that they work here, or name another --verifier"
            )
        output.metrics.update(heldout.metrics(found))
        if is_first_process():
            heldout.append(Path(str(self.args.output_dir)), found)
        self._on_heldout(found)
        return output

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """What a resumption needs; before trainer_state.json, whose presence makes a checkpoint whole."""
        super()._save_optimizer_and_scheduler(output_dir)
        if self._curriculum is not None and self.args.should_save:
            self._curriculum.save(Path(output_dir) / CURRICULUM_FILE)
