"""The page's stylesheet, and the little of it that runs in the browser. Nothing comes from another address."""

CSS = """
.gradio-container { max-width: 1400px !important; }
.head h1 { margin: 0; font-size: 1.5rem; }
.head p { margin: .2rem 0 0; color: var(--body-text-color-subdued); }
.head { align-items: center; flex-wrap: wrap; }
.head > :first-child { min-width: 260px !important; }
.head .drop { flex-grow: 0 !important; }
.actions { gap: 8px; }
.overflow-dropdown { z-index: 60 !important; max-height: 60vh; overflow-y: auto !important; }
@media (min-width: 768px) { .results { position: sticky; top: 8px; } }
.block .info-text { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }
.block:focus-within .info-text { -webkit-line-clamp: unset; }
.pictures .grid-wrap { max-height: none !important; }
.pictures.many .grid-wrap { max-height: 75vh !important; }
.status { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .6rem .8rem; }
.status p { margin: .25rem 0; overflow-wrap: anywhere; white-space: pre-line; }
.status .bar { height: 8px; border-radius: 4px; background: var(--neutral-200); overflow: hidden; }
.dark .status .bar { background: var(--neutral-700); }
.status .bar div { height: 100%; background: var(--primary-500); transition: width .15s linear; }
.status .preview { display: block; width: 100%; max-width: 512px; margin: .5rem auto 0; border-radius: 6px; }
.status .curve { display: block; width: 100%; margin: .5rem 0 0; border-radius: 6px; }
.status.failed { border-color: #c0392b; }
.status .message { color: #c0392b; }
.dark .status .message { color: #ff8a7a; }
.status .warning { color: #9a6700; }
.dark .status .warning { color: #e3b341; }
.details { font-size: .9rem; overflow-wrap: anywhere; }
.details dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem; margin: .3rem 0; }
.details dt { color: var(--body-text-color-subdued); }
.details dd { margin: 0; }
.details pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0; font-size: .8rem; padding: .5rem;
  border-radius: 6px; background: var(--background-fill-secondary); }
.wanting { margin: .3rem 0; padding-left: 1.2rem; }
.wanting li { list-style: disc; margin: .3rem 0; overflow-wrap: anywhere; }
.fine { margin: .3rem 0; }
.group-title { padding: .35rem .8rem !important; }
.group-title p { font-weight: 600; }
.seed { align-items: center; flex-wrap: nowrap !important; background: var(--block-background-fill); }
.seed button { min-width: 90px !important; flex-grow: 0 !important; margin: 0 .8rem; }
@media (max-width: 640px) {
  .gradio-container { padding: 8px !important; }
  .details dl { grid-template-columns: 1fr; }
  .pictures.many .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }
  .actions { position: fixed; left: 0; right: 0; bottom: 0; z-index: 50; padding: 8px; flex-wrap: nowrap !important;
    background: var(--body-background-fill); border-top: 1px solid var(--border-color-primary); }
  .actions button { white-space: nowrap; font-size: 1rem; padding-left: 4px; padding-right: 4px; }
  .gradio-container { padding-bottom: 72px !important; }
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
