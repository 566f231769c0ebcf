// The table of checks, filtered by words and by verdict. The page's policy lets this script run by its hash, and no other.
const filters = document.getElementById("filters");
const rows = [...document.querySelectorAll("#checks > tbody > tr")];
const words = filters.querySelector("input[type=search]");
const boxes = [...filters.querySelectorAll("input[type=checkbox]")];

function apply() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const verdicts = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !(verdicts.has(row.dataset.verdict) && wanted.every((word) => text.includes(word)));
    shown += !row.hidden;
  }
  filters.querySelector("output").textContent = `${shown} of ${rows.length}`;
}

filters.hidden = false;
filters.addEventListener("input", apply);
apply();
