// The page: settings, requests, the player, what was done before.
import {EDITORS} from "./editors.js";
import {Player} from "./player.js";
import {element} from "./reveal.js";

const get = id => document.getElementById(id);
const KEPT = 20;  // results
const BOUND = "An upper bound on -log p of what was filled in, given the rest, under the model's own " +
  "law (temperature 1), and the noise of the masks that it was estimated with";

// The secret is in the address once, and nowhere after that but in this tab.
if (location.hash.length > 1) {
  sessionStorage.setItem("token", location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}
const token = sessionStorage.getItem("token") || "";
addEventListener("hashchange", () => location.reload());  // another secret, in the open tab

let models = [], limits = {}, number = 0, editor = null, settings = [];
let entries = [], entry = null, working = null;
const player = new Player(get("result"), () => draw());

function say(text) {
  get("message").textContent = text;
}

async function post(path, body, signal) {
  const headers = {"Content-Type": "application/json", "X-Token": token};
  const answer = await fetch(path, {method: "POST", headers, body: JSON.stringify(body), signal});
  if (answer.ok) return answer;
  let why = `the server answers ${answer.status}`;
  try {
    why = (await answer.json()).error;
  } catch { /* no JSON: the status is all there is */ }
  throw Object.assign(new Error(why), {status: answer.status});
}

// The lines of an answer, as they come.
async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part);
  }
}

// ---------------------------------------------------------------- what an editor may use

const known = new Map();  // probabilities that were asked for, by what was edited
let pointed = null;

const page = {
  root: get("editor"),
  get model() { return models[number]; },
  say,
  shaded: () => get("shade").checked,
  label: () => settings[0].label(),

  async open(edit, quiet = false) {
    try {
      const {board} = await (await post("/open", {model: number, edit})).json();
      say("");
      return board;
    } catch (error) {
      if (!quiet) say(error.message);
      return null;
    }
  },

  // Show how probable the values of a hole are, beside `target`; no hole: show nothing.
  async odds(edit, example, cell, target) {
    const box = get("odds");
    pointed = cell;
    box.hidden = true;
    if (!cell || !(cell.hole || cell.was) || !edit || !page.model.scores || working) return;
    const key = JSON.stringify([number, edit]);
    await new Promise(done => setTimeout(done, 120));
    if (pointed !== cell) return;
    try {
      if (!known.has(key)) {
        if (known.size > KEPT) known.clear();
        known.set(key, asked(edit));
      }
      const found = await known.get(key);
      const of = found.find(([i, position]) => i === example && position === cell.position);
      if (pointed !== cell || !of || !target.isConnected) return;
      box.replaceChildren(...of[2].map(([text, p]) => {
        const bar = element("i");
        bar.style.width = `${100 * p}%`;
        const shown = text === "" ? "(missing)" : text.replaceAll("\n", "\u21b5").replaceAll(" ", "\u2423");
        return element("div", {}, element("span", {textContent: shown}), bar,
          element("b", {textContent: `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`}));
      }));
      const {left, bottom} = target.getBoundingClientRect();
      box.hidden = false;
      box.style.left = `${Math.max(8, Math.min(left, innerWidth - box.offsetWidth - 8)) + scrollX}px`;
      box.style.top = `${bottom + scrollY + 6}px`;
    } catch {
      known.delete(key);  // busy: asked for again when it is pointed at again
    }
  },
};

async function asked(edit) {
  for await (const line of lines(await post("/odds", {model: number, edit}))) {
    if (line.odds) return line.odds;
    if (line.error) throw new Error(line.error);
  }
  throw new Error("the server has stopped");
}

// ---------------------------------------------------------------- settings

class Settings {
  constructor(model, name) {
    const own = name || "settings";
    const choice = (key, values) => element("select", {dataset: {of: key}},
      ...values.map(value => element("option", {value, textContent: value.replaceAll("_", " ")})));
    this.sampler = choice("sampler", model.samplers);
    this.grid = choice("grid", model.grids);
    this.steps = element("input", {type: "number", min: 1, max: limits.steps, dataset: {of: "steps"}});
    this.temperature = element("input", {
      type: "number", min: 0.01, max: 100, step: "any", value: 1, dataset: {of: "temperature"}});
    this.top_p = element("input", {
      type: "number", min: 0.01, max: 1, step: "any", value: 1, dataset: {of: "top_p"}});
    this.gamma = this.number("gamma", {min: 0, step: "any"}, model);
    this.eta = this.number("eta", {min: 0, max: 1, step: "any"}, model);
    this.corrections = this.number("corrections", {min: 1, max: 16, step: 1}, model);
    this.guidance = element("input", {
      type: "number", min: -100, max: 100, step: "any", value: 0, dataset: {of: "guidance"}});
    this.classes = element("select", {dataset: {of: "label"}},
      element("option", {value: "", textContent: "not said"}),
      ...model.classes.map(name => element("option", {value: name, textContent: name})));
    const row = (text, input) => element("label", {textContent: text}, input);
    const parts = [row("Sampler", this.sampler), row("Steps", this.steps), row("Grid", this.grid),
                   row("Gamma (nats)", this.gamma), row("Eta", this.eta),
                   row("Corrections a step", this.corrections),
                   row("Temperature", this.temperature), row("Top-p", this.top_p)];
    if (!name && model.classes.length) parts.push(row("Class", this.classes));
    if (model.guidance) parts.push(row("Guidance", this.guidance));
    this.node = element("fieldset", {}, element("legend", {textContent: name || "Settings"}),
      element("div", {className: "row"}, ...parts));
    this.node.dataset.name = own;
    this.sampler.addEventListener("change", () => this.fits());
    this.steps.addEventListener("input", () => this.fits());
    this.fits();
  }

  // A setting that has no effect cannot be set.
  fits() {
    const name = this.sampler.value, {timed, own} = page.model;
    const exact = name === "first_hitting", bounded = name === "entropy-bounded";
    const usual = timed.includes(name) && !exact;
    this.steps.disabled = exact || bounded;
    this.steps.placeholder = usual ? "256" : bounded ? "as gamma allows" : "one a position";
    this.grid.disabled = exact || bounded || (!usual && !this.steps.value);
    for (const [key, of] of Object.entries(own)) {
      this[key].disabled = this[key].parentNode.hidden = !of.includes(name);
    }
  }

  // A number that some samplers have.
  number(key, limits, model) {
    return element("input", {type: "number", value: model.plain[key], dataset: {of: key}, ...limits});
  }

  // What it is set to, or else what it is where it has no effect.
  own(key) {
    const {own, plain} = page.model;
    return own[key].includes(this.sampler.value) ? numberIn(this[key]) : plain[key];
  }

  label() {
    return this.classes.value;
  }

  said() {
    return {
      sampler: this.sampler.value,
      steps: this.steps.disabled ? 0 : Math.round(+this.steps.value),
      grid: this.grid.disabled ? "cosine" : this.grid.value,
      temperature: +this.temperature.value,
      top_p: +this.top_p.value,
      gamma: this.own("gamma"),
      eta: this.own("eta"),
      corrections: this.own("corrections"),
      guidance: numberIn(this.guidance),
      seed: Math.round(+get("seed").value),
      num: Math.round(+get("num").value),
      score: get("score").checked && page.model.scores,
    };
  }
}

// An empty field is no 0: the server refuses it by its name.
function numberIn(input) {
  return input.value === "" ? null : +input.value;
}

function inWords(said) {
  const parts = [said.sampler.replaceAll("_", " ")];
  if (said.steps) parts.push(`${said.steps} steps`);
  if (said.grid !== "cosine") parts.push(`${said.grid} grid`);
  for (const [key, of] of Object.entries(page.model.own)) {
    if (of.includes(said.sampler)) parts.push(`${key} ${said[key]}`);
  }
  if (said.top_p !== 1) parts.push(`top-p ${said.top_p}`);
  if (said.temperature !== 1) parts.push(`temperature ${said.temperature}`);
  if (said.guidance) parts.push(`guidance ${said.guidance}`);
  return [...parts, `seed ${said.seed}`].join(", ");
}

function choose(which) {
  number = which;
  const model = page.model;
  page.root.replaceChildren();
  editor = new EDITORS[model.editor](page);
  const row = element("div", {className: "row"});
  const file = element("input", {id: "file", type: "file", accept: model.takes});
  file.addEventListener("change", () => load(file));
  row.append(element("label", {textContent: "Load a file"}, file));
  page.root.append(row);
  const most = model.fixed ? "" : `, of at most ${model.length} ${model.unit}s`;
  get("about").textContent = `A model of ${model.what}${most}. Mask what it is to tell: it fills ` +
    "that in, a few positions at a time, given all the rest.";
  get("length").max = model.length;
  get("length").value = model.usual;
  get("length-name").hidden = model.fixed;
  get("num").max = limits.num;
  get("num").value = model.editor === "pixels" ? Math.min(4, limits.num) : 1;
  get("score").parentNode.hidden = !model.scores;
  settings = [];
  arrange();
  for (const run of entries.flatMap(one => one.runs)) run.views = null;  // of the editor that was
  entry = null;
  get("result").hidden = true;
  past();
  editor.set(model.start);
}

// One set of settings, or two.
function arrange() {
  const names = get("compare").checked ? ["Settings A", "Settings B"] : [""];
  settings = names.map((name, i) => {
    const made = new Settings(page.model, name);
    const before = settings[i] || settings[0];
    if (before) {
      for (const of of ["sampler", "grid", "steps", "gamma", "eta", "corrections", "temperature", "top_p",
                        "guidance", "classes"]) {
        made[of].value = before[of].value;
      }
      made.fits();
    }
    return made;
  });
  if (settings.length === 2 && page.model.classes.length) {
    settings[0].node.lastChild.append(element("label", {textContent: "Class"}, settings[0].classes));
  }
  get("settings").replaceChildren(...settings.map(one => one.node));
}

// ---------------------------------------------------------------- filling

async function begin(mode) {
  if (working) return;
  say("");
  const edit = mode === "fill" ? editor.edit() : null;
  const of = {model: number, mode, edit, runs: [], began: new Date()};
  working = new AbortController();
  busy(true);
  page.odds(null);
  const what = edit ? {edit} :
    {length: +get("length").value || page.model.length, label: settings[0].label()};
  try {
    for (const said of settings.map(one => one.said())) {
      const run = {said, edit, frames: [], filled: null, scores: new Map(), board: null,
                   num: 0, steps: 0, length: 0, command: ""};
      const body = {model: number, settings: said, ...what};
      const answer = await patiently(body, working.signal);
      for await (const line of lines(answer)) take(of, run, line);
      if (run.failed) throw new Error(run.failed);
    }
    get("status").textContent = `Done in ${of.runs.map(run => run.seconds).join(" and ")} seconds.`;
  } catch (error) {
    if (error.name === "AbortError") get("status").textContent = "Stopped.";
    else say(error.message);
  } finally {
    working = null;
    busy(false);
    past();
  }
}

function busy(on) {
  get("fill").disabled = get("sample").disabled = get("model").disabled = on;
  get("stop").disabled = !on;
  if (on) get("status").textContent = "Filling in.";
}

// Somebody else may be at work, or a look at probabilities.
async function patiently(body, signal) {
  for (let tries = 0; ; tries++) {
    try {
      return await post("/run", body, signal);
    } catch (error) {
      if (error.status !== 429 || tries === 20) throw error;
      get("status").textContent = "Waiting: another request is at work.";
    }
    await new Promise(done => setTimeout(done, 250));
    signal.throwIfAborted();
    get("status").textContent = "Filling in.";
  }
}

// A line of an answer.
function take(of, run, line) {
  if (line.error) run.failed = line.error;
  if (line.begin) {
    Object.assign(run, line.begin);
    of.runs.push(run);
    if (of.runs.length === 1) entries = [of, ...entries].slice(0, KEPT);
    show(of);
    if (of.runs.length === 1) get("result").scrollIntoView({block: "nearest"});
  }
  if (line.new) run.frames.push({step: line.step, added: line.new});
  if (line.filled) run.filled = line.filled;
  if (line.score !== undefined) run.scores.set(line.score, line.of);
  if (line.done !== undefined) run.seconds = line.done;
  if (entry !== of) return;
  const follows = player.at >= player.last;
  player.last = last(of);
  if (line.begin) return;
  player.show(follows ? player.last : player.at);
  if (line.score !== undefined) sayScores();
}

const last = of => Math.max(0, ...of.runs.map(run => run.frames.length));

// Put a result on the page.
function show(of) {
  entry = of;
  player.stop();
  get("result").hidden = false;
  const hints = {text: "Click a word that was filled in to keep it, one that was given to mask it.",
                 residues: "Click a residue that was filled in to keep it, a given one to mask it.",
                 grid: "Click a cell that was filled in to keep it, a given one to empty it."};
  get("hint").textContent = of.edit ? hints[page.model.editor] || "" : "";
  for (const run of of.runs) {
    const many = editor.together?.(run) ? 1 : run.num;
    run.views ||= Array.from({length: many}, (_, copy) => editor.view(run, copy));
  }
  get("runs").replaceChildren(...of.runs.map(run => {
    const cards = run.views.map((view, copy) => element("div", {className: "card"},
      element("header", {}, element("h3", {textContent: title(of, run, copy)}),
        element("span", {className: "score", title: BOUND})), view.node,
      ...(editor.apart ? [saver(run, [view])] : [])));
    const pictures = page.model.editor === "pixels" ? "pictures" : "";
    return element("div", {className: "run"}, element("h3", {textContent: inWords(run.said)}),
      element("div", {className: `cards ${pictures}`}, ...cards),
      ...(editor.apart ? [] : [saver(run, run.views)]));
  }));
  get("command").textContent = of.runs.map(run => run.command).join("\n\n");
  player.last = last(of);
  player.show(player.last);
  sayScores();
}

function title(of, run, copy) {
  if (run.views.length === 1) return of.edit ? "Filling" : run.num > 1 ? "Samples" : "Sample";
  return `${of.edit ? "Filling" : "Sample"} ${copy + 1}`;
}

// The state at the scrubber, and what is said of it.
function draw() {
  const frame = player.at;
  get("result").classList.toggle("shaded", get("shade").checked);
  get("scale").hidden = !get("shade").checked;
  for (const run of entry.runs) {
    for (const view of run.views) view.show(Math.min(frame, run.frames.length));
  }
  return entry.runs.map(run => {
    const step = frame ? run.frames[Math.min(frame, run.frames.length) - 1]?.step ?? 0 : 0;
    return `step ${step} of ${run.said.sampler === "entropy-bounded" ? "at most " : ""}${run.steps}`;
  }).join("; ");
}

function sayScores() {
  entry.runs.forEach((run, i) => {
    const scores = get("runs").children[i].querySelectorAll(".card .score");
    scores.forEach((score, copy) => { score.textContent = scored(run, copy); });
  });
}

function scored(run, copy) {
  let copies = [copy];
  if (editor.together?.(run)) copies = Array.from({length: run.num}, (_, k) => k);
  if (!copies.every(k => run.scores.has(k))) return "";
  const all = copies.flatMap(k => run.scores.get(k));
  const nats = all.reduce((sum, one) => sum + one[0], 0);
  const noise = Math.sqrt(all.reduce((sum, one) => sum + one[1] ** 2, 0));
  const holes = all.reduce((sum, one) => sum + one[2], 0);
  const each = nats / Math.LN2 / holes;
  const bound = `at most ${nats.toFixed(2)} \u00b1 ${noise.toFixed(2)} nats`;
  if (page.model.editor === "pixels") return bound;
  const values = `${holes} ${page.model.unit}${holes === 1 ? "" : "s"}`;
  return `${bound} for ${values} (${each.toFixed(2)} bits each)`;
}

// ---------------------------------------------------------------- the rest

function past() {
  const own = entries.filter(one => one.model === number);
  get("past").hidden = !own.length;
  get("history").replaceChildren(...own.map(one => {
    const when = one.began.toLocaleTimeString();
    const what = one.edit ? "filled in" : "sampled";
    const how = one.runs.map(run => inWords(run.said)).join(" beside ");
    const button = element("button", {type: "button", className: "small",
                                      textContent: `${when}, ${what}: ${how}`});
    button.addEventListener("click", () => {
      show(one);
      if (one.edit && !working) editor.set(one.edit);
    });
    return element("li", {}, button);
  }));
}

async function load(input) {
  const [file] = input.files;
  if (!file) return;
  if (file.size > 5e6) return say("This file is too large: at most 5 million bytes are taken.");
  const text = await new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.split(",")[1] || "");
    reader.onerror = failed;
    reader.readAsDataURL(file);
  });
  try {
    const answer = await post("/load", {model: number, name: file.name, file: text});
    say("");
    await editor.set((await answer.json()).edit);
  } catch (error) {
    say(error.message);
  }
  input.value = "";
}

// What writes fillings of a run into a file.
function saver(run, views) {
  const button = element("button", {type: "button", className: "small download", textContent: "Download"});
  button.addEventListener("click", () => download(run, views));
  return button;
}

// The fillings as they are at their end, which is shown.
async function download(run, views) {
  if (!run.filled) return say("This filling is not whole: wait for its end, or fill in again.");
  say("");
  player.go(player.last);
  const [name, content] = editor.file(run, views);
  const blob = content instanceof HTMLCanvasElement ?
    await new Promise(done => content.toBlob(done)) : new Blob([content], {type: "text/plain"});
  const link = element("a", {href: URL.createObjectURL(blob), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function copy() {
  const text = get("command").textContent;
  try {
    await navigator.clipboard.writeText(text);
    get("copy").textContent = "Copied";
    setTimeout(() => { get("copy").textContent = "Copy as command"; }, 1500);
  } catch {  // not allowed: it can be copied by hand
    getSelection().selectAllChildren(get("command"));
  }
}

get("controls").addEventListener("submit", event => {
  event.preventDefault();
  begin("fill");
});
get("sample").addEventListener("click", () => begin("sample"));
get("stop").addEventListener("click", () => working?.abort());
get("compare").addEventListener("change", arrange);
get("shade").addEventListener("change", () => entry && player.show());
get("model").addEventListener("change", () => choose(+get("model").value));
get("copy").addEventListener("click", copy);
document.addEventListener("keydown", event => {
  if (event.key === "Escape") {
    working?.abort();
    page.odds(null);
  }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    begin("fill");
  }
});

try {
  ({models, limits} = await (await post("/models", {})).json());
  get("model").replaceChildren(...models.map((model, i) =>
    element("option", {value: i, textContent: `${model.path} (${model.name})`})));
  get("choice").hidden = models.length < 2;
  choose(0);
} catch (error) {
  get("about").textContent = "";
  say(error.message);
}
