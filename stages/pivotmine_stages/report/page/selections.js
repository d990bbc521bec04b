// @ts-check
// Two selections side by side: the states in both, and in one only, by class and domain. A number filters the list.
/// <reference path="dom.js" />
/// <reference path="browser.js" />

/** Which two of the run's selections are compared, by their places in the list. */
const pair = [0, 1];
const SELECTIONS = DATA.selections.names;

/** The sides of a comparison: words, and the filter `bits looked at:their values`. @returns {[string, string][]} */
function sides() {
  const [a, b] = pair;
  const name = (/** @type {number} */ i) => SELECTIONS[i].name;
  if (SELECTIONS.length < 2) return [[`in ${name(0)}`, "1:1"], [`not in ${name(0)}`, "1:0"]];
  const one = 2 ** a, other = 2 ** b, all = one + other;
  return [[`only in ${name(a)}`, `${all}:${one}`], ["in both", `${all}:${all}`], [`only in ${name(b)}`, `${all}:${other}`]];
}

/** The filter of the list of states: the sides of the comparison, and either selection. */
function selectionFilter() {
  if (!SELECTIONS.length) return null;
  const more = SELECTIONS.length < 2 ? [] : pair.map((i) => [`in ${SELECTIONS[i].name}`, `${2 ** i}:${2 ** i}`]);
  const options = [...sides(), ...more].map(([words, value]) => el("option", { value, selected: filters.chosen === value }, words));
  return el("label", {}, "selection", el("select", { name: "chosen", on: { change: read } }, el("option", { value: "" }, "any"), options));
}

function drawSelections() {
  if (!SELECTIONS.length) return;
  const facts = (/** @type {Data} */ one) => `${one.name}: ${count(one.train)} training, ${count(one.validation)} held-out states (${one.words})`;
  if (SELECTIONS.length < 2) return show(byId("selections"), el("h3", {}, "Selections"), el("p", { class: "note" }, `This run has one selection, ${facts(SELECTIONS[0])}. Another one appears here once it is made.`));
  const place = el("div", { id: "overlap" });
  const choose = (/** @type {number} */ side) => el("select", { id: `side-${side}`, on: { change: (/** @type {Event} */ event) => { pair[side] = Number(/** @type {HTMLSelectElement} */ (event.target).value); filters.chosen = ""; draw(); drawFilters(); drawList(); } } }, SELECTIONS.map((/** @type {Data} */ one, /** @type {number} */ i) => el("option", { value: i, selected: pair[side] === i }, facts(one))));
  const draw = () => show(place, overlapTable());
  show(byId("selections"), el("h3", {}, "Selections"), el("div", { class: "filters" }, el("label", { for: "side-0" }, "one selection", choose(0)), el("label", { for: "side-1" }, "another", choose(1))), place);
  draw();
}

function overlapTable() {
  const parts = sides().map(([words, value]) => {
    const [mask, bits] = value.split(":").map(Number);
    return { words, value, groups: DATA.selections.groups.filter((/** @type {Data} */ one) => (one.selected & mask) === bits) };
  });
  const counted = (/** @type {(one: Data) => boolean} */ fits, /** @type {Data} */ change) => parts.map(({ value, groups }) => {
    const states = groups.reduce((/** @type {number} */ sum, /** @type {Data} */ one) => sum + (fits(one) ? one.states : 0), 0);
    return states ? el("button", { type: "button", class: "plain", on: { click: () => setFilters({ chosen: value, ...change }) } }, count(states)) : "0";
  });
  const known = (/** @type {string} */ key) => [...new Set(parts.flatMap(({ groups }) => groups.map((/** @type {Data} */ one) => one[key])))];
  const classes = CLASSES.filter((kind) => known("class").includes(kind)).map((kind) => [el("span", { class: `class ${kind}` }, kind), ...counted((one) => one.class === kind, { class: kind })]);
  const outside = known("class").includes(null) ? [["not profiled here", ...parts.map(({ groups }) => count(groups.reduce((/** @type {number} */ sum, /** @type {Data} */ one) => sum + (one.class ? 0 : one.states), 0)))]] : [];
  const domains = known("domain").sort().map((name) => [`domain ${name || "(none)"}`, ...counted((one) => one.domain === name, { domain: name })]);
  const looks = ["look", ...parts.map(({ groups }) => groups.flatMap((/** @type {Data} */ one) => one.examples).slice(0, 6).map((/** @type {string} */ id) => [stateLink(id), " "]))];
  const rows = [["states", ...counted(() => true, {})], ...classes, ...outside, looks];
  const head = ["", ...parts.map(({ words }) => ({ number: words }))];
  return [el("div", { class: "even" }, table(head, rows)), domains.length > 1 || known("domain")[0] ? folded(domains, 8, (some) => el("div", { class: "even" }, table(head, some))) : null];
}

/** What the selections did with a state. @param {Data[]} chosen */
function chosenBox(chosen) {
  if (!chosen.length) return null;
  const said = (/** @type {Data} */ one) => (one.split ? el("span", { class: "paid" }, one.split === "train" ? "training row" : "held-out row") : el("span", {}, `left out: ${one.reason}`));
  return el("div", { class: "chosen" }, chosen.map((one) => el("div", {}, el("strong", {}, `pivots/${one.name} `), said(one))));
}
