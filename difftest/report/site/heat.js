// The heat map and the search. The page's policy lets this script run by its hash, and no other.
const data = JSON.parse(document.getElementById("data").textContent);
const heat = document.getElementById("heat");
const words = document.getElementById("words");
const everything = document.getElementById("everything");
const [IMPLEMENTATION, VERSION, BOCHS, VARIANT, RUNS, NEWEST] = [0, 1, 2, 3, 4, 5];
const [CASE, CHECK, SUMMARY, PAGE, CELLS, MIXED] = [0, 1, 2, 3, 4, 5];
const MOST_ROWS = 300; // of checks that a search opens
const families = new Map();
data.checks.forEach((check, number) => {
  if (!families.has(check[CASE])) families.set(check[CASE], []);
  families.get(check[CASE]).push(number);
});

function make(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function head() {
  const top = make("tr");
  const second = make("tr");
  top.append(make("th", "", "name"));
  second.append(make("th", "", "name"));
  let last = null;
  for (const column of data.columns) {
    if (last && last.textContent === column[VERSION]) last.colSpan += 1;
    else top.append((last = make("th", column[VERSION])));
    const cell = make("th", column[BOCHS].replace(/^Bochs /, "") + (column[VARIANT] ? "*" : ""));
    cell.title = [column[VERSION], column[BOCHS], column[VARIANT]].filter(Boolean).join(", ");
    second.append(cell);
  }
  const thead = make("thead");
  thead.append(top, second);
  return thead;
}

function shown(check) {
  return everything.checked || check[PAGE] !== "" || [...check[CELLS]].some((letter) => data.diverging.includes(letter));
}

function cell(letter, text, row, column) {
  const td = make("td", text, data.verdicts[letter] ? data.verdicts[letter][0] : "");
  td.dataset.row = row;
  td.dataset.column = column;
  return td;
}

function checkRow(number) {
  const check = data.checks[number];
  const row = make("tr", undefined, "check");
  const name = make("th", undefined, "name");
  if (check[PAGE]) {
    const link = make("a", check[CHECK]);
    link.href = check[PAGE];
    name.append(link);
  } else name.textContent = check[CHECK];
  name.title = check[SUMMARY];
  row.append(name);
  [...check[CELLS]].forEach((letter, column) => {
    const td = cell(letter, letter === "." ? "" : letter, number, column);
    if (check[MIXED][column]) td.classList.add("mixed");
    row.append(td);
  });
  return row;
}

function familyRow(family, numbers) {
  const row = make("tr", undefined, "family");
  const name = make("th", undefined, "name");
  const button = make("button", family);
  button.type = "button";
  button.dataset.open = family;
  button.setAttribute("aria-expanded", "false");
  name.append(button);
  row.append(name);
  data.columns.forEach((_, column) => {
    const letters = numbers.map((number) => data.checks[number][CELLS][column]);
    const gravest = [...data.gravity].find((letter) => letters.includes(letter)) || " ";
    const many = letters.filter((letter) => data.diverging.includes(letter)).length;
    row.append(cell(gravest, many || "", "", column));
  });
  return row;
}

function draw() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  heat.replaceChildren(head());
  let open = 0;
  for (const [family, numbers] of families) {
    const body = make("tbody");
    body.dataset.family = family;
    const fitting = numbers.filter((number) => {
      const text = data.checks[number].slice(CASE, SUMMARY + 1).join(" ").toLowerCase();
      return shown(data.checks[number]) && wanted.every((word) => text.includes(word));
    });
    if (!fitting.length) continue;
    body.append(familyRow(family, numbers));
    heat.append(body);
    if (wanted.length && open < MOST_ROWS) {
      expand(body, fitting.slice(0, MOST_ROWS - open));
      open += fitting.length;
    }
  }
}

function expand(body, numbers) {
  body.querySelector("button").setAttribute("aria-expanded", "true");
  body.append(...numbers.map(checkRow));
}

function explain(td) {
  const column = data.columns[td.dataset.column];
  const where = [column[VERSION] || column[IMPLEMENTATION], column[BOCHS], column[VARIANT]].filter(Boolean).join(", ");
  let text = `${where}: ${column[RUNS]} ${column[RUNS] === 1 ? "run" : "runs"}, the newest of ${column[NEWEST]}`;
  if (td.dataset.row !== "") {
    const check = data.checks[td.dataset.row];
    const letter = check[CELLS][td.dataset.column];
    const all = Object.entries(check[MIXED][td.dataset.column] || {}).map(([verdict, times]) => `${verdict} ${times} times`);
    const verdict = data.verdicts[letter] ? data.verdicts[letter][1] : "not run";
    text = `${check[CHECK]} on ${where}: ${verdict}${all.length ? ` (over all runs: ${all.join(", ")})` : ""}. ${check[SUMMARY]}`;
  }
  const output = document.getElementById("cell");
  output.hidden = false;
  output.textContent = text;
}

heat.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const td = event.target.closest("td");
  if (button) {
    const body = button.closest("tbody");
    if (button.getAttribute("aria-expanded") === "true") {
      button.setAttribute("aria-expanded", "false");
      body.querySelectorAll("tr.check").forEach((row) => row.remove());
    } else expand(body, families.get(button.dataset.open).filter((number) => shown(data.checks[number])));
  } else if (td) explain(td);
});

// The table of divergences: families are folded until something is searched for.
const bodies = [...document.querySelectorAll("#faults tbody.rows")];
const buttons = new Map([...document.querySelectorAll("#faults button")].map((button) => [button.dataset.family, button]));

function fold(body, open) {
  body.hidden = !open;
  buttons.get(body.dataset.family).setAttribute("aria-expanded", String(open));
}

function search() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let many = 0;
  let all = 0;
  for (const body of bodies) {
    const family = buttons.get(body.dataset.family);
    let left = 0;
    for (const row of body.rows) {
      const text = `${family.textContent} ${row.textContent}`.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word));
      left += !row.hidden;
      all += 1;
    }
    many += left;
    family.closest("tbody").hidden = !left;
    fold(body, wanted.length > 0 && left > 0);
  }
  document.getElementById("count").textContent = wanted.length ? `${many} of ${all}` : `${all} in all`;
  draw();
}

for (const [family, button] of buttons) {
  const body = bodies.find((one) => one.dataset.family === family);
  button.addEventListener("click", () => fold(body, body.hidden));
}
words.addEventListener("input", search);
everything.addEventListener("change", draw);
search();
