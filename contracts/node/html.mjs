// node html.mjs CONTRACTS OUTPUT: checks CONTRACTS/asyncapi.json with AsyncAPI's own parser, and
// writes OUTPUT/index.html, a page that needs neither a server nor a network.
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

import { Parser, fromFile } from "@asyncapi/parser";

const HINT = 2; // severities: 0 error, 1 warning, then what is no mistake
const FILES = { "reference.js": "browser/standalone/index.js", "reference.css": "styles/default.min.css" };
const [contracts, output] = process.argv.slice(2);
const path = join(contracts, "asyncapi.json");

const { diagnostics } = await fromFile(new Parser(), path).parse();
const mistakes = diagnostics.filter(({ severity }) => severity < HINT);
for (const { path: place, message } of mistakes) console.error(`${place.join(".")}: ${message}`);
if (mistakes.length > 0) process.exit(1);

const document = JSON.parse(await readFile(path, "utf8"));
for (const message of Object.values(document.components.messages)) {
  const file = message.payload.$ref; // the page is to be one with its schemas
  if (file) message.payload = JSON.parse(await readFile(join(contracts, file), "utf8"));
}

await mkdir(output, { recursive: true });
const component = createRequire(import.meta.url).resolve("@asyncapi/react-component/package.json");
for (const [name, source] of Object.entries(FILES)) {
  await copyFile(join(component, "..", source), join(output, name));
}
const inScript = JSON.stringify(document).replaceAll("<", "\\u003c");
await writeFile(
  join(output, "index.html"),
  `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${document.info.title} ${document.info.version}</title>
<link rel="stylesheet" href="reference.css">
<div id="reference"></div>
<script src="reference.js"></script>
<script>
AsyncApiStandalone.render(
  { schema: ${inScript}, config: { show: { errors: true }, sidebar: { showOperations: "byDefault" } } },
  document.getElementById("reference"),
);
// index.html#all opens every field: to print it, or to search it by the browser. It goes on until
// nothing has been closed for a while, since the page is drawn anew once it has checked the document.
if (location.hash === "#all") {
  let quiet = 0;
  const opening = setInterval(() => {
    const buttons = [...document.querySelectorAll("button")];
    const closed = buttons.filter(({ textContent }) => textContent === "Expand all");
    closed.forEach((button) => button.click());
    quiet = buttons.length > 0 && closed.length === 0 ? quiet + 1 : 0;
    if (quiet === 10) clearInterval(opening);
  }, 200);
}
</script>
</html>
`,
);
console.log(join(output, "index.html"));
