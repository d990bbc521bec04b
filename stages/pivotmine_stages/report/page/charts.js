// @ts-check
// The pictures, as plain SVG. A click on a bar filters the list of states.
/// <reference path="dom.js" />

const WIDTH = 420;
const HEIGHT = 180;

function drawFunnel() {
  const most = Math.max(1, ...DATA.funnel.map((/** @type {Data} */ step) => step.count));
  const rows = DATA.funnel.map((/** @type {Data} */ step) => {
    const bar = el("div", { class: "bar" });
    bar.style.cssText = `height:10px;border-radius:3px;background:var(--accent);width:${Math.max(0.5, (100 * step.count) / most)}%`;
    const lost = step.lost.map((/** @type {Data} */ one) => el("div", {}, `${count(one.count)} ${one.reason}`, one.example ? [": ", /^[0-9a-f]{32}$/.test(one.example) ? stateLink(one.example) : one.example.slice(0, 160)] : ""));
    const few = folded(lost, 4, (parts) => el("div", {}, parts));
    return [step.step, count(step.count), bar, few];
  });
  show(byId("funnel"), table(["step", { number: "count" }, "share", "lost on the way, by reason"], rows));
}

/** @param {any} title @param {...any} parts */
const chart = (title, ...parts) => el("div", { class: "chart" }, el("h3", {}, title), parts);

const legend = () => el("p", { class: "legend" }, CLASSES.filter((kind) => DATA.figures.classes[kind]).map((kind) => el("span", {}, swatch(kind), `${kind} ${count(DATA.figures.classes[kind])}`)));

/** A bar that can be clicked. @param {Data} box @param {string} label @param {() => void} pick */
function pickable(box, label, pick) {
  const onkey = (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && pick();
  return svg("rect", { ...box, class: `${box.class} pick`, tabindex: "0", role: "button", "aria-label": label, on: { click: pick, keydown: onkey } }, svg("title", {}, label));
}

function meansChart() {
  const bins = DATA.figures.means;
  const most = Math.max(1, ...bins.map((/** @type {Data} */ bin) => CLASSES.reduce((sum, kind) => sum + (bin[kind] || 0), 0)));
  const wide = WIDTH / bins.length;
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 20}`, role: "group", "aria-label": "Histogram of mean rewards" });
  bins.forEach((/** @type {Data} */ bin, /** @type {number} */ i) => {
    let top = HEIGHT;
    for (const kind of CLASSES) {
      const states = bin[kind] || 0;
      if (!states) continue;
      const height = Math.max(1, (HEIGHT * states) / most);
      top -= height;
      const range = `mean ${fixed(i / bins.length)} to ${fixed((i + 1) / bins.length)}`;
      picture.append(pickable({ x: i * wide + 1, y: top, width: wide - 2, height, class: kind }, `${range}, ${kind}: ${count(states)} states`, () => setFilters({ class: kind, low: i / bins.length, high: (i + 1) / bins.length })));
    }
  });
  for (const value of [0, 0.25, 0.5, 0.75, 1]) picture.append(svg("text", { x: value * WIDTH, y: HEIGHT + 15, "text-anchor": value === 0 ? "start" : value === 1 ? "end" : "middle" }, fixed(value)));
  const line = svg("line", { class: "bound", y1: 0, y2: HEIGHT });
  picture.append(line);
  return chart(`Mean reward by state; the highest bar: ${count(most)} states`, picture, bound(line), legend());
}

/** The slider of `--max-mean`. @param {SVGElement} line */
function bound(line) {
  const steps = DATA.bounds;
  if (!steps.length) line.remove();
  if (!steps.length) return el("p", { class: "note" }, `No selection can be previewed: ${DATA.no_bounds || "nothing is scored"}`);
  const nearest = steps.reduce((/** @type {number} */ best, /** @type {Data} */ step, /** @type {number} */ i) => (Math.abs(step.max_mean - DATA.max_mean) < Math.abs(steps[best].max_mean - DATA.max_mean) ? i : best), 0);
  const output = el("output", { for: "lambda", id: "rows" });
  const input = /** @type {HTMLInputElement} */ (el("input", { id: "lambda", type: "range", min: 0, max: steps.length - 1, step: 1, value: nearest }));
  const update = () => {
    const step = steps[Number(input.value)];
    line.setAttribute("x1", String(step.max_mean * WIDTH));
    line.setAttribute("x2", String(step.max_mean * WIDTH));
    region.setAttribute("width", String(EDGE + step.max_mean * (WIDTH - 2 * EDGE)));
    below.textContent = fixed(step.max_mean);
    input.setAttribute("aria-valuetext", fixed(step.max_mean));
    output.textContent = `--max-mean ${fixed(step.max_mean)}: ${count(step.train)} training and ${count(step.validation)} validation rows`;
  };
  input.addEventListener("input", update);
  update();
  return el("div", { class: "lambda" }, el("label", { for: "lambda" }, "lambda"), input, output);
}

/** @param {string} name @param {string|null} filter */
function groupsChart(name, filter) {
  const groups = DATA.figures.by[name];
  if (groups.length < 2 && !groups[0]?.group) return null;
  const rows = groups.map((/** @type {Data} */ group) => {
    const bar = svg("svg", { viewBox: "0 0 200 14", role: "group", "aria-label": `classes of ${name} ${group.group}` });
    let left = 0;
    for (const kind of CLASSES) {
      const states = group.classes[kind] || 0;
      if (!states) continue;
      const width = (200 * states) / group.states;
      const pick = () => setFilters({ class: kind, ...(filter ? { [filter]: String(group.group) } : {}) });
      bar.append(pickable({ x: left, y: 0, width, height: 14, class: kind }, `${name} ${group.group}, ${kind}: ${count(states)} of ${count(group.states)}`, pick));
      left += width;
    }
    const label = filter ? String(group.group || "(none)") : group.group === null ? "unknown" : typeof group.group === "number" ? `from ${count(group.group)}` : group.group;
    return [label, count(group.states), bar, fixed(group.mean), percent(group.decided)];
  });
  const head = [name, { number: "states" }, "classes", { number: "mean" }, { number: "decided" }];
  return chart(`Class by ${name}`, folded(rows, 8, (parts) => table(head, parts)));
}

/** The selected region of the picture of variances, which follows the slider. */
const region = svg("rect", { class: "region", x: 0, y: 0, height: HEIGHT - 4 });
const below = el("span", {});
const EDGE = 18;

function variancesChart() {
  region.setAttribute("width", region.getAttribute("width") || String(EDGE + DATA.max_mean * (WIDTH - 2 * EDGE)));
  below.textContent = below.textContent || fixed(DATA.max_mean);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 20}`, role: "img", "aria-label": "Variance of the reward against its mean, a circle per pair, its area the number of states" });
  picture.append(region);
  for (const [mean, variance, states] of DATA.figures.variances) {
    const kind = variance > 1e-6 ? "sometimes" : mean === 0 ? "never" : mean === 1 ? "always" : "constant";
    picture.append(svg("circle", { class: kind, cx: EDGE + mean * (WIDTH - 2 * EDGE), cy: HEIGHT - 6 - variance * 4 * (HEIGHT - 14), r: Math.min(16, 1.5 + Math.sqrt(states)), "fill-opacity": 0.6 }, svg("title", {}, `mean ${fixed(mean)}, variance ${fixed(variance, 3)}: ${count(states)} states`)));
  }
  for (const value of [0, 0.5, 1]) picture.append(svg("text", { x: EDGE + value * (WIDTH - 2 * EDGE), y: HEIGHT + 15, "text-anchor": "middle" }, fixed(value)));
  return chart(["Variance against mean; shaded: mean below ", below], picture);
}

function outcomesChart() {
  const whole = DATA.figures.outcomes.reduce((/** @type {number} */ sum, /** @type {Data} */ row) => sum + row.samples, 0) || 1;
  const rows = DATA.figures.outcomes.map((/** @type {Data} */ row) => [
    el("button", { type: "button", class: "plain", on: { click: () => setFilters({ outcome: row.outcome }) } }, row.outcome), count(row.samples), `${((100 * row.samples) / whole).toFixed(1)} %`, count(row.states), stateLink(row.example, "an example"),
  ]);
  return chart("Outcomes of the samples", table(["outcome", { number: "samples" }, { number: "share" }, { number: "states" }, "look"], rows));
}

function drawCharts() {
  show(byId("charts"), meansChart(), variancesChart(), outcomesChart(), groupsChart("domain", "domain"), groupsChart("tool", "tool"), groupsChart("depth", null), groupsChart("prompt tokens", null));
}

function drawSuspects() {
  const kinds = [...new Set(DATA.suspects.map((/** @type {Data} */ one) => one.why))];
  const parts = kinds.map((why) => {
    const rows = DATA.suspects.filter((/** @type {Data} */ one) => one.why === why).map((/** @type {Data} */ one) => [stateLink(one.state_id), one.detail]);
    return el("div", {}, el("h3", {}, `${why[0].toUpperCase()}${why.slice(1)}: ${count(rows.length)}${rows.length >= DATA.max_suspects ? " or more" : ""}`), folded(rows, 4, (some) => table(["state", "detail"], some)));
  });
  show(byId("suspects"), parts.length ? el("div", { class: "charts" }, parts) : el("p", { class: "note" }, "None of the checks found one."));
}
