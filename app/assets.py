"""The page's stylesheet, and the little of it that runs in the browser. Nothing comes from another address."""

CSS = """
html { scrollbar-gutter: stable; }
:root:has(body.dark), body.dark { color-scheme: dark; }
/* Clipped, not hidden: in a box that could scroll, nothing sticks to the window. */
.gradio-container { overflow: clip !important; width: 100% !important; }
.gradio-container { max-width: 1500px !important; margin: 0 auto !important; --problem: #b42318; --advice: #8a5a00;
  --chosen: var(--primary-700); }
.dark .gradio-container, .gradio-container.dark { --problem: #ff8a7a; --advice: #e3b341;
  --chosen: var(--primary-300); }
/* Narrow: small margins, and room for the buttons below. Not by @media, which Gradio makes apply within .contain. */
.app { padding: 16px clamp(6px, calc((100vw - 640px) * 99), 32px) clamp(16px, calc((641px - 100vw) * 99), 80px)
  !important; }
.head { align-items: center; flex-wrap: wrap; }
.head h1 { margin: 0; font-size: 1.4rem; }
.head p { margin: .1rem 0 0; color: var(--body-text-color-subdued); }
.head .more { color: inherit; }
.head > :first-child { min-width: 260px !important; }
.head .drop { flex-grow: 0 !important; }
.overflow-dropdown { z-index: 60 !important; max-height: 60vh; overflow-y: auto !important; }
.purpose p { font-size: 1.05rem; }
#notice:not(:has(.status)) { display: none; }
button[role=tab].selected, button[role=tab][aria-selected=true] { color: var(--chosen) !important; }
.examples { gap: 6px; flex-wrap: wrap; margin-top: -8px; }
.example { flex: 0 1 auto !important; width: auto !important; white-space: normal; text-align: left;
  font-weight: 400; padding: 3px 10px; border-radius: 999px; }
.hint p { font-size: .85rem !important; }
.block.sizes { margin: -13px 0 !important; }
.sizes p { line-height: 1.15 !important; }
.not-yet p { color: var(--advice); }
.seed, .choose { align-items: flex-end; flex-wrap: wrap; }
.seed .random, .choose .bring { flex-grow: 0 !important; min-width: 130px; margin-bottom: 4px; }
.seed .random { min-width: 90px; }
.actions { gap: 8px; }
.actions button.make { flex-grow: 3; }
button:disabled { opacity: 1 !important; cursor: not-allowed; background: var(--neutral-200) !important;
  color: var(--neutral-600) !important; }
.dark button:disabled { background: var(--neutral-700) !important; color: var(--neutral-200) !important; }
.heading { box-shadow: none; }
.block:has(input[type=checkbox]):not(:has(.block)) { min-width: min(200px, 100%) !important; }
.block[data-problem] input { border-color: var(--problem) !important; }
.block[data-problem]::after { content: attr(data-problem); display: block; color: var(--problem); font-size: .85rem;
  padding-top: 2px; }
.tabitem:has([data-problem]) button.make { pointer-events: none; background: var(--neutral-200) !important;
  color: var(--neutral-600) !important; }
.dark .tabitem:has([data-problem]) button.make { background: var(--neutral-700) !important;
  color: var(--neutral-200) !important; }
.tabitem:has([data-problem]) .actions::after { content: "A number is out of range: see the field in red.";
  color: var(--problem); flex-basis: 100%; font-size: .85rem; }
@media (min-width: 768px) {
  .results { position: sticky; top: 8px; max-height: calc(100vh - 170px); overflow-y: auto; flex-wrap: nowrap; }
  .results > * { flex-shrink: 0; } }
.pictures .grid-wrap { max-height: none !important; overflow-y: hidden !important; }
.pictures.many .grid-wrap { max-height: 78vh !important; overflow-y: auto !important; }
.pictures:not(.many) .grid-container:not(:has(> :nth-child(2))) .thumbnail-item {
  aspect-ratio: auto !important; height: min(54vh, 700px) !important; }
.pictures .caption-label { white-space: normal !important; max-width: 100% !important; overflow-wrap: anywhere; }
.results .html-container { padding: 0 !important; }
.status { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .5rem .8rem; }
.status p { margin: .15rem 0; overflow-wrap: anywhere; white-space: pre-line; }
.status.idle { border-style: dashed; text-align: center; padding: 14vh .8rem; color: var(--body-text-color-subdued); }
.status .bar { height: 8px; border-radius: 4px; background: var(--neutral-200); overflow: hidden; margin: .2rem 0; }
.dark .status .bar { background: var(--neutral-700); }
.status .bar div { height: 100%; background: var(--primary-500); transition: width .15s linear; }
.status .preview { display: block; width: 100%; max-width: min(512px, 56vh); margin: .5rem auto 0; border-radius: 6px; }
.status .curve { display: block; width: 100%; margin: .5rem 0 0; border-radius: 6px; }
.status.failed { border-color: var(--problem); }
.status .message { color: var(--problem); }
.notices p, .notices summary { margin: .15rem 0; overflow-wrap: anywhere; }
.notices .warning { color: var(--advice); }
.notices .warning p { color: var(--body-text-color); }
.notices .text { white-space: pre-line; }
summary { cursor: pointer; }
.wanting-box { border: 1px solid var(--advice) !important; padding: .6rem .8rem; }
.wanting summary { color: var(--advice); font-weight: 600; }
.wanting li { list-style: disc; margin: .2rem 0 .2rem 1.2rem; overflow-wrap: anywhere; }
.command textarea { font-family: var(--font-mono); }
.details { font-size: .9rem; overflow-wrap: anywhere; }
.details dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem; margin: .3rem 0; }
.details dt { color: var(--body-text-color-subdued); }
.details dd { margin: 0; }
.details pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; font-size: .8rem; padding: .5rem;
  border-radius: 6px; background: var(--background-fill-secondary); }
@media (max-width: 640px) {
  .head .more { display: none; }
  .details dl { grid-template-columns: 1fr; }
  .pictures.many .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }
  .actions { position: fixed; left: 0; right: 0; bottom: 0; z-index: 50; padding: 8px; flex-wrap: wrap !important;
    background: var(--body-background-fill); border-top: 1px solid var(--border-color-primary); }
  .actions button { white-space: nowrap; font-size: 1rem; padding-left: 4px; padding-right: 4px; }
  .status.idle { padding: 3vh .8rem; }
}
"""

# Where the columns stand below each other, what a run shows would be out of sight.
SHOW_STATUS = """() => {{
  const box = document.getElementById("{0}");
  if (box && window.innerWidth < 768) box.scrollIntoView({{behavior: "smooth", block: "start"}});
}}"""

# Short enough to say to somebody.
RANDOM_SEED = "() => String(Math.floor(Math.random() * 2 ** 32))"

SAVE_FILE = """(text, name) => {
  if (!text) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/json"}));
  link.download = name;
  document.body.appendChild(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}"""

# A number outside its field's limits is told at the field while it is typed; a program that changes it sends no event.
TELL_LIMITS = """() => {
  const problem = (field, block) => {
    const [text, low, high] = [field.value.trim(), field.min, field.max];
    if (field.closest(".whole"))
      return /^\\d{1,20}$/.test(text) ? "" : "Expected a whole number, such as 7";
    if (field.type !== "number") return "";
    if (text === "") return "Expected a number";
    const over = (low !== "" && Number(text) < Number(low)) || (high !== "" && Number(text) > Number(high));
    return over ? `Expected a number from ${low} to ${high}` : "";
  };
  const look = field => {
    const block = field.closest(".block");
    if (!block) return;
    const found = problem(field, block);
    if (found) block.dataset.problem = found; else delete block.dataset.problem;
    field.setAttribute("aria-invalid", String(Boolean(found)));
  };
  const again = () => document.querySelectorAll("[data-problem] input, [data-problem] textarea").forEach(look);
  document.addEventListener("input", event => look(event.target), true);
  for (const kind of ["click", "focusout"]) document.addEventListener(kind, () => setTimeout(again, 150), true);
}"""

# A file that is let fall anywhere but on a field of its own goes to the button that restores settings.
DROP_ANYWHERE = """() => {
  const own = event => event.target.closest("input, textarea, [contenteditable], .image-container, .mask, .shared");
  const isFile = event => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  window.addEventListener("dragover", event => { if (isFile(event) && !own(event)) event.preventDefault(); });
  window.addEventListener("drop", event => {
    if (!isFile(event) || own(event)) return;
    event.preventDefault();
    const input = document.querySelector(".head input[type=file]");
    if (!input) return;
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", {bubbles: true}));
  });
}"""

ON_LOAD = f"() => {{ ({DROP_ANYWHERE})(); ({TELL_LIMITS})(); }}"
