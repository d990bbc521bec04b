// @ts-check
// The list of states and one state in full. `source` answers from the page's own data, or from the server of `view`.
/// <reference path="dom.js" />

const PAGE = 50;
/** @type {Data} */
let filters = { text: "", class: "", domain: "", tool: "", outcome: "", chosen: "", sort: "variance", low: null, high: null };
let page = 0;
/** @type {string[]} */
let listed = [];
let opened = "";

/** Sort keys of the list, the smallest first; ties are sorted by state_id. @type {Record<string, ((row: Data) => number)[]>} */
const ORDERS = {
  variance: [(row) => -(row.variance ?? -1), (row) => row.mean ?? 2],
  mean: [(row) => row.mean ?? 2],
  depth: [(row) => row.depth],
  "prompt tokens": [(row) => -(row.prompt_tokens ?? 0)],
};

/** Answers from the data in the page. */
const embedded = {
  /** @param {Data} asked @param {number} from */
  async states(asked, from) {
    const words = asked.text.toLowerCase();
    const rows = DATA.index.filter((/** @type {Data} */ row) => matches(row, asked, words));
    const order = ORDERS[asked.sort] || [];
    rows.sort((/** @type {Data} */ a, /** @type {Data} */ b) => {
      for (const key of order) if (key(a) !== key(b)) return key(a) - key(b);
      return a.state_id < b.state_id ? -1 : 1;
    });
    return { total: rows.length, rows: rows.slice(from, from + PAGE) };
  },
  /** @param {string} id */
  async state(id) {
    const found = DATA.details[id];
    return found ? { ...found, texts: DATA.messages } : null;
  },
  /** @param {string} id @param {string} name */
  async samples(id, name) {
    return DATA.others.find((/** @type {Data} */ other) => other.name === name)?.samples[id] || [];
  },
};

/** @param {Data} row @param {Data} asked @param {string} words */
function matches(row, asked, words) {
  const within = (asked.low === null || asked.low === undefined) || (row.mean !== null && row.mean >= asked.low - 1e-9 && (row.mean < asked.high - 1e-9 || (asked.high === 1 && row.mean <= 1)));
  const [mask, bits] = (asked.chosen || "0:0").split(":").map(Number);
  return within && (row.selected & mask) === bits && ["class", "domain", "tool"].every((key) => !asked[key] || row[key] === asked[key]) && (!asked.outcome || row.outcomes.includes(asked.outcome)) && (!words || row.words.toLowerCase().includes(words) || row.state_id.startsWith(words));
}

/** Answers from the server of this page. It requires the token of the page's address. */
const served = {
  /** @param {Data} asked @param {number} from */
  states: (asked, from) => get("states", { ...asked, from }),
  /** @param {string} id */
  state: (id) => get("state", { id }),
  /** @param {string} id @param {string} name */
  samples: async (id, name) => (await get("samples", { id, other: name })) || [],
};

/** @param {string} what @param {Data} asked */
async function get(what, asked) {
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== null && value !== "").map(([key, value]) => [key, String(value)]));
  const token = new URLSearchParams(location.search).get("token") || "";
  const answer = await fetch(`api/${what}?${query}`, { headers: { "X-Pivotmine-Token": token } });
  return answer.ok ? answer.json() : null;
}

const source = DATA.served ? served : embedded;

/** @param {Data} change */
function setFilters(change) {
  filters = { ...filters, text: "", class: "", domain: "", tool: "", outcome: "", chosen: "", low: null, high: null, ...change };
  page = 0;
  drawFilters();
  drawList();
  byId("browser-title").scrollIntoView();
}

function drawFilters() {
  const box = (/** @type {string} */ name, /** @type {string[]} */ values) => el("label", {}, name, el("select", { name, on: { change: read } }, el("option", { value: "" }, name === "sort" ? null : "any"), values.map((value) => el("option", { value, selected: filters[name] === value }, value))));
  const groups = (/** @type {string} */ name) => DATA.figures.by[name].map((/** @type {Data} */ group) => String(group.group)).filter(Boolean);
  const range = filters.low === null || filters.low === undefined ? "" : el("button", { type: "button", on: { click: () => setFilters({ ...filters, low: null, high: null }) } }, `mean ${fixed(filters.low)} to ${fixed(filters.high)} ×`);
  const sort = el("label", {}, "sort", el("select", { name: "sort", on: { change: read } }, ["variance", "mean", "depth", "prompt tokens"].map((value) => el("option", { value, selected: filters.sort === value }, value))));
  show(byId("filters"), el("label", {}, "search", el("input", { name: "text", type: "search", value: filters.text, on: { input: read } })), box("class", CLASSES), box("domain", groups("domain")), box("tool", groups("tool")), box("outcome", DATA.figures.outcomes.map((/** @type {Data} */ row) => row.outcome)), selectionFilter(), sort, el("button", { type: "button", on: { click: () => setFilters({}) } }, "Clear"), range);
}

function read() {
  const form = /** @type {HTMLFormElement} */ (byId("filters"));
  for (const name of ["text", "class", "domain", "tool", "outcome", "chosen", "sort"]) filters[name] = /** @type {HTMLInputElement|null} */ (form.elements.namedItem(name))?.value || "";
  page = 0;
  drawList();
}

let asked = 0;
async function drawList() {
  const mine = ++asked;
  const found = await source.states(filters, page * PAGE);
  if (mine !== asked || !found) return; // a newer request has replaced this one
  listed = found.rows.map((/** @type {Data} */ row) => row.state_id);
  const rows = found.rows.map((/** @type {Data} */ row) =>
    el("tr", { class: row.state_id === opened ? "open" : null, on: { click: () => go(row.state_id) } }, el("td", {}, stateLink(row.state_id)), el("td", { class: `class ${row.class}` }, row.class), el("td", { class: "number" }, fixed(row.mean)), el("td", { class: "number" }, `${count(row.num_scored)}/${count(row.num_samples)}`), el("td", {}, row.domain || "–"), el("td", {}, row.tool || row.kind), el("td", { class: "number" }, count(row.depth)), el("td", { class: "number" }, count(row.prompt_tokens))));
  const head = ["state", "class", "mean", "decided", "domain", "action", "turn", "tokens"].map((name, i) => el("th", { scope: "col", class: [2, 3, 6, 7].includes(i) ? "number" : null }, name));
  show(byId("list"), el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows));
  show(byId("found"), `${count(found.total)} states; ${found.total ? page * PAGE + 1 : 0} to ${Math.min(found.total, (page + 1) * PAGE)} shown`);
  /** @type {HTMLButtonElement} */ (byId("previous")).disabled = page === 0;
  /** @type {HTMLButtonElement} */ (byId("next")).disabled = (page + 1) * PAGE >= found.total;
}

/** @param {string} id */
const go = (id) => { location.hash = `state=${encodeURIComponent(id)}`; };

async function openFromAddress() {
  const id = new URLSearchParams(location.hash.slice(1)).get("state") || "";
  opened = id;
  for (const row of byId("list").querySelectorAll("tbody tr")) row.classList.toggle("open", row.querySelector("a")?.hash === location.hash);
  if (!id) return show(byId("state"));
  const found = await source.state(id);
  if (opened !== id) return;
  if (found) {
    drawState(found);
    byId("state").scrollTop = 0;
    if (byId("state").getBoundingClientRect().top > innerHeight) byId("state").scrollIntoView();
  }
  else show(byId("state"), el("h3", {}, "Not in this page"), el("p", {}, `State ${id} is not among the states that this page holds. `, el("code", {}, `pivotmine show RUN ${id}`)));
}

/** @param {Data} found */
function drawState(found) {
  const row = found.state;
  const near = [["before", "previous turn"], ["after", "next turn"]].map(([key, words]) => found[key] ? el("span", {}, `${words}: `, stateLink(found[key].state_id), ` ${found[key].class || "not profiled"} `) : null);
  const messages = found.messages.map((/** @type {string} */ id) => found.texts[id]);
  const early = messages.slice(0, -2), late = messages.slice(-2);
  const usable = found.demonstrations.filter((/** @type {Data} */ one) => !one.reject_reason);
  const gold = (usable[0] || found.demonstrations[0])?.action;
  show(byId("state"),
    el("h3", {}, "State ", el("span", { class: "mono" }, row.state_id)),
    el("p", {}, el("span", { class: `class ${row.class}` }, row.class), ` mean ${fixed(row.mean)} of ${count(row.num_scored)} decided of ${count(row.num_samples)} samples; ${row.class === "never" && row.solvable_probability !== null ? `chance of a success rate above 1 %: ${fixed(row.solvable_probability)}; ` : ""}${row.domain || "no domain"}; turn ${row.depth}; ${count(row.prompt_tokens)} prompt tokens`),
    el("p", { class: "note" }, near),
    chosenBox(found.chosen),
    el("h3", {}, "Conversation"),
    found.tools.length ? el("details", {}, el("summary", {}, `${found.tools.length} tools offered: ${found.tools.map((/** @type {Data} */ tool) => tool.name).join(", ").slice(0, 200)}`), found.tools.map((/** @type {Data} */ tool) => el("pre", {}, tool.text))) : el("p", { class: "note" }, "No tools are offered."),
    early.length ? el("details", {}, el("summary", {}, `${early.length} earlier messages`), early.map(messageBox)) : null,
    late.map(messageBox),
    el("h3", {}, "Demonstrated"),
    found.demonstrations.map((/** @type {Data} */ one) => el("div", { class: "message" }, el("div", { class: "role" }, one.turn_id, one.reject_reason ? ` (not a demonstration: ${one.reject_reason})` : ""), actionBox(one.action, null))),
    el("h3", {}, "Samples, grouped by what they do"),
    el("div", { class: "side" }, el("div", {}, groupBoxes(found.samples, gold)), comparedSamples(row.state_id, gold)));
}

/** @param {Data[]} groups @param {Data|null} gold */
const groupBoxes = (groups, gold) => groups.map((group) => el("div", { class: "group" },
  el("div", { class: "head" }, el("span", {}, `${group.count} ×`), el("span", { class: group.reward === null ? "open" : group.reward > 0 ? "paid" : "unpaid" }, group.reward === null ? "no reward" : `reward ${fixed(group.reward)}`), el("span", {}, group.outcome), el("span", { class: "note" }, group.detail)),
  actionBox(group.action, gold)));

/** @param {Data} message */
const messageBox = (message) => el("div", { class: "message" }, el("div", { class: "role" }, message.role), message.reasoning ? el("details", {}, el("summary", {}, "reasoning"), el("pre", {}, message.reasoning)) : null, message.text ? el("pre", {}, message.text) : null, message.calls.map((/** @type {Data} */ call) => callBox(call, null)));

/** An action; what differs from `gold` is marked. @param {Data} action @param {Data|null} gold */
function actionBox(action, gold) {
  const calls = action.calls.map((/** @type {Data} */ call, /** @type {number} */ i) => callBox(call, gold && (gold.calls.find((/** @type {Data} */ one) => one.name === call.name) || gold.calls[i] || null)));
  const text = action.text ? el("pre", {}, gold && gold.text && !action.calls.length ? marked(action.text, gold.text) : action.text) : null;
  const broken = action.broken.map((/** @type {string} */ piece) => el("pre", {}, `unreadable: ${piece}`));
  const reasoning = action.reasoning ? el("details", {}, el("summary", {}, "reasoning"), el("pre", {}, action.reasoning)) : null;
  return el("div", {}, reasoning, text, calls, broken, action.text || calls.length || broken.length ? null : el("p", { class: "note" }, "(nothing)"));
}

/** @param {Data} call @param {Data|null} gold */
function callBox(call, gold) {
  const given = call.arguments && typeof call.arguments === "object" && !Array.isArray(call.arguments) ? call.arguments : { "": call.arguments };
  const theirs = gold ? gold.arguments || {} : null;
  const written = (/** @type {any} */ value) => (typeof value === "string" ? value : JSON.stringify(value));
  const lines = Object.entries(given).map(([name, value]) => {
    const known = theirs && Object.hasOwn(theirs, name);
    const shown = !theirs ? written(value) : known ? marked(written(value), written(theirs[name])) : el("mark", {}, written(value));
    return el("div", {}, `${name} = `, shown);
  });
  const missing = theirs ? Object.keys(theirs).filter((name) => !Object.hasOwn(given, name)).map((name) => el("div", {}, el("s", {}, `${name} = ${written(theirs[name])}`), " missing")) : [];
  const name = gold && gold.name !== call.name ? el("mark", {}, call.name) : call.name;
  return el("div", { class: "args mono" }, el("strong", {}, name), lines, missing);
}

/** The text, marked where it differs between the common beginning and the common end. @param {string} text @param {string} other */
function marked(text, other) {
  if (text === other) return text;
  let start = 0, end = 0;
  const most = Math.min(text.length, other.length);
  while (start < most && text[start] === other[start]) start++;
  while (end < most - start && text[text.length - 1 - end] === other[other.length - 1 - end]) end++;
  const middle = text.slice(start, text.length - end);
  return [text.slice(0, start), el("mark", { title: `demonstrated: ${other.slice(start, other.length - end)}` }, middle || "∅"), text.slice(text.length - end)];
}
