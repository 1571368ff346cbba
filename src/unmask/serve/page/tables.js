// Tables, whose empty cells are filled in.
import {element, Reveal, shade} from "./reveal.js";

export class Grid {
  apart = true;  // each filling is a file of its own

  constructor(page) {
    this.page = page;
    const {columns} = page.model;
    this.fixed = columns.map(column => {
      const box = element("input", {type: "checkbox"});
      box.addEventListener("change", () => this.marks());
      return box;
    });
    const lists = columns.map((column, c) => element("datalist", {id: `values-${c}`},
      ...column.values.map(value => element("option", {value}))));
    const heads = columns.map((column, c) => element("th", {attributes: {scope: "col"}},
      column.name, element("label", {className: "check"}, this.fixed[c], "fixed")));
    this.body = element("tbody");
    this.table = element("table", {id: "grid"},
      element("thead", {}, element("tr", {}, element("th", {textContent: "row"}), ...heads)), this.body);
    const more = element("button", {id: "more", type: "button", textContent: "Add a row"});
    const less = element("button", {id: "less", type: "button", textContent: "Remove the last row"});
    const none = element("button", {id: "mask-all", type: "button", textContent: "Empty all cells"});
    page.root.append(
      element("div", {className: "wide"}, this.table), ...lists,
      element("div", {className: "row"}, more, less, none),
      element("p", {className: "help", textContent: "Empty cells are filled in; point at one, or " +
        "step into it, for how probable its values are. A fixed column stays as it is: what is " +
        "empty there is not known."}),
    );
    more.addEventListener("click", () => this.add(columns.map(() => "")));
    less.addEventListener("click", () => {
      if (this.body.rows.length > 1) this.body.lastChild.remove();
    });
    none.addEventListener("click", () => {
      for (const input of this.body.querySelectorAll("input")) input.value = "";
      this.marks();
    });
    this.body.addEventListener("input", () => this.marks());
    const point = event => this.point(event.target);
    this.body.addEventListener("pointerover", point);
    this.body.addEventListener("focusin", point);
    const leave = () => page.odds(null);
    this.body.addEventListener("pointerleave", leave);
    this.body.addEventListener("focusout", leave);
  }

  add(row) {
    const {columns, most} = this.page.model, number = this.body.rows.length + 1;
    if (number > most) return this.page.say(`The page takes ${most} rows.`);
    const cells = row.map((text, c) => {
      const input = element("input", {type: "text", value: text, autocomplete: "off",
        dataset: {row: number - 1, column: c},
        attributes: {"aria-label": `${columns[c].name}, row ${number}`}});
      if (columns[c].values.length) input.setAttribute("list", `values-${c}`);
      return element("td", {}, input);
    });
    this.body.append(element("tr", {},
      element("th", {attributes: {scope: "row"}, textContent: number}), ...cells));
    this.marks();
  }

  marks() {
    for (const input of this.body.querySelectorAll("input")) {
      const free = !input.value && !this.fixed[+input.dataset.column].checked;
      input.className = free ? "hole" : "";
      input.placeholder = input.value ? "" : free ? "" : "not known";
    }
  }

  point(target) {
    const {row, column} = target.dataset;
    if (!target.classList.contains("hole")) return this.page.odds(null);
    const cell = {hole: true, position: this.page.model.columns[+column].at};
    this.page.odds(this.edit(), +row, cell, target);
  }

  async set(edit) {
    this.body.replaceChildren();
    for (const row of edit.rows) this.add(row);
    const fixed = edit.fixed || [];
    this.fixed.forEach((box, c) => {
      box.checked = fixed.includes(this.page.model.columns[c].name);
    });
    this.marks();
  }

  edit() {
    const rows = [...this.body.rows].map(row =>
      [...row.querySelectorAll("input")].map(input => input.value));
    const {columns} = this.page.model;
    const fixed = columns.filter((_, c) => this.fixed[c].checked).map(column => column.name);
    return {rows, ...(fixed.length ? {fixed} : {})};
  }

  view(run, copy) {
    return new GridView(this, run, copy);
  }

  // Samples are rows of one table.
  together(run) {
    return !run.edit;
  }

  file(run, [view]) {
    const {columns, header, delimiter} = this.page.model;
    // between blanks, an empty cell needs quotes, too
    const quoted = text => /["\r\n]/.test(text) || (text || " ").includes(delimiter) ?
      `"${text.replaceAll('"', '""')}"` : text;
    const names = header ? [columns.map(column => column.name)] : [];
    const rows = [...names, ...view.rows()];
    return ["filled.csv", rows.map(row => row.map(quoted).join(delimiter) + "\n").join("")];
  }
}

class GridView {
  constructor(editor, run, copy) {
    this.editor = editor;
    this.run = run;
    this.samples = !run.edit;
    const {columns} = editor.page.model;
    const many = this.samples ? run.num : run.edit.rows.length;
    // of samples, each row is a filling of its own
    this.reveals = Array.from({length: this.samples ? many : 1},
      (_, k) => new Reveal(run, this.samples ? k : copy));
    this.spans = Array.from({length: many}, () => columns.map(() => element("span")));
    const body = element("tbody", {}, ...this.spans.map((row, r) => element("tr", {},
      element("th", {attributes: {scope: "row"}, textContent: r + 1}),
      ...row.map((span, c) => {
        span.tabIndex = -1;
        Object.assign(span.dataset, {row: r, column: c});
        return element("td", {}, span);
      }))));
    const heads = columns.map(column => element("th", {attributes: {scope: "col"},
      textContent: column.name}));
    const table = element("table", {},
      element("thead", {}, element("tr", {}, element("th", {textContent: "row"}), ...heads)), body);
    this.keep = element("button", {type: "button", className: "small",
      textContent: "Use these rows"});
    this.keep.addEventListener("click", () => {
      editor.set({rows: this.rows().slice(0, editor.page.model.most), fixed: editor.edit().fixed});
    });
    if (!this.samples) {
      body.addEventListener("pointerover", event => {
        const {row, column} = event.target.dataset;
        const hole = row !== undefined && run.board.holes[+row][+column];
        const cell = hole ? {hole: true, position: columns[+column].at} : null;
        editor.page.odds(run.edit, +row, cell, event.target);
      });
      body.addEventListener("pointerleave", () => editor.page.odds(null));
      body.addEventListener("click", event => this.toggle(event.target));
    }
    this.node = element("div", {}, element("div", {className: "wide"}, table), this.keep);
  }

  cell(r, c) {
    const {at} = this.editor.page.model.columns[c];
    const reveal = this.samples ? this.reveals[r] : this.reveals[0];
    const example = this.samples ? 0 : r;
    if (!this.samples && !this.run.board.holes[r][c]) {
      return {text: this.run.edit.rows[r][c], kind: "given"};
    }
    const now = reveal.of(example).get(at);
    if (!now) return {text: "", kind: "hole"};
    const last = reveal.final(example).find(([position]) => position === at);
    const fresh = reveal.fresh.has(`${example},${at}`) && !reveal.whole;
    return {text: last ? last[2] : now.text, kind: `filled ${shade(now.sure)}${fresh ? " new" : ""}`};
  }

  show(frame) {
    for (const reveal of this.reveals) reveal.go(frame);
    this.spans.forEach((row, r) => row.forEach((span, c) => {
      const {text, kind} = this.cell(r, c);
      span.textContent = text;
      span.className = `cell ${kind}`;
    }));
    this.keep.disabled = !this.reveals[0].whole;
  }

  rows() {
    return this.spans.map((row, r) => row.map((_, c) => this.cell(r, c).text));
  }

  // What was filled in is kept, what was there is emptied: in the rows above.
  toggle(span) {
    if (span.dataset.row === undefined || !this.reveals[0].whole) return;
    const {row, column} = span.dataset;
    const input = this.editor.body.rows[+row]?.querySelectorAll("input")[+column];
    if (!input) return;
    input.value = input.value ? "" : span.textContent;
    span.classList.toggle("pinned", Boolean(input.value) && span.classList.contains("filled"));
    span.classList.toggle("again", !input.value && span.classList.contains("given"));
    this.editor.marks();
  }
}
