// Draws the OpenAPI document of this service. Text goes in as text only, never as markup.

const byId = (id) => document.getElementById(id);

function make(name, options = {}, ...children) {
  const { class: className, ...attributes } = options;
  const node = document.createElement(name);
  if (className) node.className = className;
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(key, "");
    else if (value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// `code` and **strong** in a line, as the descriptions have them.
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.length > 2 && part.startsWith("`")) return make("code", {}, part.slice(1, -1));
    if (part.length > 4 && part.startsWith("**")) return make("strong", {}, part.slice(2, -2));
    return part;
  });
}

// Paragraphs, and lists of lines that begin with "- ".
function prose(text) {
  return (text || "").split(/\n\n+/).filter(Boolean).map((block) => {
    const lines = block.split("\n");
    if (!lines.every((line) => line.startsWith("- "))) return make("p", {}, inline(block));
    return make("ul", {}, lines.map((line) => make("li", {}, inline(line.slice(2)))));
  });
}

// -- schemas ---------------------------------------------------------------------------------------------------------

const nameOf = (ref) => ref.slice(ref.lastIndexOf("/") + 1);

// What an object holds under keys that nobody knows before.
function valuesOf(schema) {
  const found = schema.additionalProperties ?? Object.values(schema.patternProperties ?? {})[0];
  return typeof found === "object" ? found : undefined;
}

class Reader {
  constructor(api) {
    this.api = api;
  }

  resolve(node) {
    if (!node?.$ref) return node;
    const { $ref, ...beside } = node;
    const found = $ref.slice(2).split("/").reduce((here, key) => here[key], this.api);
    const properties = beside.properties && { properties: { ...found.properties, ...beside.properties } };
    return { ...found, ...beside, ...properties };
  }

  // What a value of this schema may look like.
  sample(schema, depth = 0) {
    const found = this.resolve(schema);
    if (found.examples) return found.examples[0];
    if (found.const !== undefined) return found.const;
    if (found.enum) return found.enum[0];
    if (found.default !== undefined) return found.default;
    const choice = (found.anyOf || found.oneOf)?.find((one) => one.type !== "null");
    if (choice) return this.sample(choice, depth);
    const type = [found.type].flat()[0];
    if (type === "object") return this.sampleObject(found, depth);
    if (type === "array") return depth > 6 ? [] : [this.sample(found.items || {}, depth + 1)];
    if (type === "integer" || type === "number") return found.minimum ?? 0;
    if (type === "boolean") return true;
    return type === "string" ? "text" : null;
  }

  sampleObject(found, depth) {
    if (depth > 6) return {};
    const made = {};
    for (const [name, schema] of Object.entries(found.properties || {})) made[name] = this.sample(schema, depth + 1);
    const others = valuesOf(found);
    if (others) made[this.keyOf(found)] = this.sample(others, depth + 1);
    return made;
  }

  keyOf(found) {
    return found.propertyNames?.examples?.[0] ?? "name";
  }
}

function typeOf(schema) {
  if (schema.$ref) return [make("a", { href: `#schema-${nameOf(schema.$ref)}` }, nameOf(schema.$ref))];
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return choices.flatMap((one, n) => [...(n ? [" or "] : []), ...typeOf(one)]);
  if (schema.contentSchema) return ["string of JSON: ", ...typeOf(schema.contentSchema)];
  if (schema.type === "array") return ["array of ", ...typeOf(schema.items || {})];
  if (valuesOf(schema)?.$ref) return ["object of ", ...typeOf(valuesOf(schema))];
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.format === "binary") return [`file, ${schema.contentMediaType || "any"}`];
  return [[schema.type || "any"].flat().join(" or ")];
}

function limitsOf(schema) {
  const said = [];
  if (schema.format && schema.format !== "binary") said.push(schema.format);
  if (schema.enum) said.push(`one of ${schema.enum.map((one) => JSON.stringify(one)).join(", ")}`);
  if (schema.minimum !== undefined && schema.maximum !== undefined) said.push(`${schema.minimum} to ${schema.maximum}`);
  else if (schema.minimum !== undefined) said.push(`from ${schema.minimum}`);
  const unit = schema.format === "binary" ? "bytes" : "characters";
  if (schema.maxLength !== undefined) said.push(`at most ${schema.maxLength.toLocaleString("en")} ${unit}`);
  if (schema.maxItems !== undefined) said.push(`${schema.minItems ?? 0} to ${schema.maxItems} items`);
  if (schema.default !== undefined && schema.default !== null) said.push(`default ${JSON.stringify(schema.default)}`);
  return said.length ? ` · ${said.join(" · ")}` : "";
}

function field(name, schema, required, description) {
  const label = make("div", {}, name, required ? make("span", { class: "must" }, " required") : null);
  const type = make("p", { class: "type" }, typeOf(schema), limitsOf(schema));
  return make("li", {}, label, make("div", {}, type, prose(description ?? schema.description)));
}

function fieldsOf(schema, markRequired = true) {
  const required = new Set(markRequired ? schema.required || [] : []);
  const rows = Object.entries(schema.properties || {}).map(([name, one]) => field(name, one, required.has(name)));
  return rows.length ? make("ul", { class: "fields" }, rows) : null;
}

const json = (value) => make("pre", { tabindex: "0" }, make("code", {}, JSON.stringify(value, null, 2)));

// -- operations ------------------------------------------------------------------------------------------------------

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// A line for a shell that makes this call.
function curl(reader, path, method, operation) {
  const parameters = operation.parameters.map((one) => reader.resolve(one));
  const value = (one) => one.example ?? reader.sample(one.schema);
  let address = path;
  for (const one of parameters.filter((it) => it.in === "path")) {
    address = address.replace(`{${one.name}}`, encodeURIComponent(value(one)));
  }
  const asked = parameters.filter((it) => it.in === "query" && (it.required || it.example !== undefined));
  const query = asked.map((one) => `${one.name}=${encodeURIComponent(value(one))}`).join("&");
  const parts = ["curl -s"];
  if (method === "delete" || (method === "post" && !operation.requestBody)) parts.push(`-X ${method.toUpperCase()}`);
  if (operation.security.length === 1) parts.push('-H "Authorization: Bearer $TOKEN"');
  parts.push(...formOf(reader, operation));
  parts.push(quoted(location.origin + address + (query && `?${query}`)));
  return parts.join(" \\\n  ");
}

function formOf(reader, operation) {
  const media = operation.requestBody?.content["multipart/form-data"];
  if (!media) return [];
  return Object.entries(media.schema.properties).map(([name, schema]) => {
    if (schema.format === "binary") return `-F ${quoted(`${name}=@${name}.pdf;type=${schema.contentMediaType}`)}`;
    const text = schema.contentSchema ? JSON.stringify(reader.sample(schema.contentSchema)) : reader.sample(schema);
    return `--form-string ${quoted(`${name}=${text}`)}`;
  });
}

function command(text) {
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      tell("Copied");
    } catch {
      tell("Your browser does not let this page copy: select the text");
    }
  });
  return make("div", { class: "command" }, make("pre", { tabindex: "0" }, make("code", {}, text)), button);
}

let forgetting;
function tell(text) {
  byId("told").textContent = text;
  clearTimeout(forgetting);
  forgetting = setTimeout(() => (byId("told").textContent = ""), 3000);
}

function asked(reader, operation, place, title) {
  const rows = operation.parameters.map((one) => reader.resolve(one)).filter((one) => one.in === place);
  if (!rows.length) return [];
  const items = rows.map((one) => field(one.name, one.schema, one.required, one.description));
  return [make("h4", {}, title), make("ul", { class: "fields" }, items)];
}

function bodyOf(operation) {
  if (!operation.requestBody) return [];
  const [[type, media]] = Object.entries(operation.requestBody.content);
  const note = make("p", { class: "quiet" }, `${type}; ${operation.requestBody.description}`);
  return [make("h4", {}, "Form"), note, fieldsOf(media.schema)];
}

// What a WebSocket sends.
function messagesOf(operation) {
  const messages = operation["x-messages"];
  return messages ? [make("h4", {}, "Messages"), make("p", { class: "type" }, typeOf(messages))] : [];
}

function answer(reader, status, told) {
  const found = reader.resolve(told);
  const bad = Number(status) >= 400;
  const codes = [...found.description.matchAll(/ERR_\d+/g)].map(([code]) => code);
  const short = bad && codes.length ? [...new Set(codes)].join(", ") : found.description;
  const summary = make("summary", {}, make("span", { class: bad ? "status bad" : "status" }, status), ` ${short}`);
  const [[type, media] = []] = Object.entries(found.content || {});
  const headers = Object.entries(found.headers || {}).map(([name, header]) => {
    const { schema, description, required } = reader.resolve(header);
    return field(name, schema, required, description);
  });
  const content = media && [
    make("p", {}, make("code", {}, type), " ", media.schema.$ref ? typeOf(media.schema) : null),
    media.schema.properties && !media.schema.$ref ? fieldsOf(media.schema) : null,
    type.startsWith("application/json") && media.schema.$ref ? json(reader.sample(media.schema)) : null,
  ];
  const list = make("details", {}, make("summary", {}, "Headers"), make("ul", { class: "fields" }, headers));
  return make("details", { class: "answer", open: status === "200" }, summary,
    make("div", {}, bad ? prose(found.description) : null, content || null, headers.length ? list : null));
}

function operationItem(reader, path, method, operation) {
  const heading = make("h3", {}, make("span", { class: `method ${method}` }, method.toUpperCase()),
    make("span", { class: "path" }, path));
  const locked = operation.security.length === 1 ? make("span", { class: "mark" }, "needs a token") : null;
  const summary = make("summary", {}, heading, make("span", { class: "quiet" }, operation.summary), locked);
  const answers = Object.entries(operation.responses).map(([status, told]) => answer(reader, status, told));
  const parts = () => [prose(operation.description), make("h4", {}, "Call"),
    command(curl(reader, path, method, operation)), asked(reader, operation, "path", "In the path"),
    asked(reader, operation, "query", "In the query"), bodyOf(operation),
    asked(reader, operation, "header", "Headers, all optional"), messagesOf(operation),
    make("h4", {}, "Answers"), answers];
  const words = [method, path, operation.operationId, operation.summary, operation.description,
    ...Object.keys(operation.responses)].join(" ");
  return item(operation.operationId, summary, parts, words);
}

function schemaItem(reader, name, schema) {
  const summary = make("summary", {}, make("h3", {}, make("span", { class: "path" }, name)),
    make("span", { class: "quiet" }, inline((schema.description || "").split("\n")[0])));
  const parts = () => [make("p", { class: "type" }, typeOf(schema), limitsOf(schema)), fieldsOf(schema),
    schema.properties ? [make("h4", {}, "Example"), json(reader.sample(schema))] : null];
  return item(`schema-${name}`, summary, parts, `${name} ${schema.description || ""}`);
}

// Its inside is made when it is opened first.
function item(id, summary, parts, words) {
  const inside = make("div");
  const node = make("details", { class: "item", id }, summary, inside);
  node.dataset.words = words.toLowerCase();
  node.addEventListener("toggle", () => {
    if (node.open && !inside.childNodes.length) inside.append(...parts().flat(3).filter(Boolean));
  });
  return node;
}

// -- the page --------------------------------------------------------------------------------------------------------

function draw(api) {
  const reader = new Reader(api);
  byId("title").textContent = api.info.title;
  byId("version").textContent = `Version ${api.info.version}`;
  const main = byId("main");
  main.replaceChildren(make("h2", {}, "Before the first call"), ...prose(api.info.description));
  for (const tag of api.tags) {
    const items = Object.entries(api.paths).flatMap(([path, methods]) =>
      Object.entries(methods).filter(([, operation]) => operation.tags.includes(tag.name))
        .map(([method, operation]) => operationItem(reader, path, method, operation)));
    section(tag.name, tag.description, items);
  }
  const schemas = Object.entries(api.components.schemas).map(([name, schema]) => schemaItem(reader, name, schema));
  section("Schemas", "What the calls above take and give", schemas);
}

function section(title, description, items) {
  const name = `part-${title.replaceAll(" ", "-")}`;
  byId("main").append(make("section", { "aria-labelledby": name }, make("h2", { id: name }, title),
    make("p", { class: "quiet" }, inline(description)), items));
  const links = items.map((one) => {
    const words = one.querySelector("summary h3").textContent.replace(/^(GET|POST|DELETE|PUT|PATCH)/, "$1 ");
    return make("li", { "data-of": one.id }, make("a", { href: `#${one.id}` }, words));
  });
  byId("list").append(make("h2", {}, title), make("ul", {}, links));
}

function openNamed() {
  const node = byId(decodeURIComponent(location.hash.slice(1)));
  if (!node?.classList.contains("item")) return;
  node.hidden = false;
  node.open = true;
  requestAnimationFrame(() => {
    node.scrollIntoView();
    node.querySelector("summary").focus({ preventScroll: true });
  });
}

function filter() {
  const wanted = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const node of document.querySelectorAll(".item")) {
    const fits = wanted.every((word) => node.dataset.words.includes(word));
    node.hidden = !fits;
    document.querySelector(`[data-of="${CSS.escape(node.id)}"]`).hidden = !fits;
    count += fits;
  }
  byId("found").textContent = wanted.length ? `${count} found` : "";
  for (const part of document.querySelectorAll("main section")) part.hidden = !part.querySelector(".item:not([hidden])");
  for (const list of byId("list").querySelectorAll("ul")) {
    list.previousElementSibling.hidden = !list.querySelector("li:not([hidden])");
  }
}

async function start() {
  try {
    const response = await fetch("openapi.json");
    if (!response.ok) throw new Error(`The service answered ${response.status}`);
    draw(await response.json());
  } catch (error) {
    byId("state").textContent = `The document cannot be shown: ${error.message}. Reload the page to try again.`;
    return;
  }
  byId("filter").addEventListener("input", filter);
  addEventListener("hashchange", openNamed);
  byId("contents").open = matchMedia("(min-width: 52.01rem)").matches;
  if (location.hash) openNamed();
}

start();
