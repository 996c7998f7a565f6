// The API's description, made of /openapi.json: routes with their fields and answers, then the types they are made of.

import { getJson } from "./api.js";
import { copy, find, make } from "./dom.js";
import { inline } from "./markdown.js";
import { limits, propertiesOf, typeOf } from "./schema.js";

const slug = (method, path) => `${method}-${path.replaceAll(/\W+/g, "-")}`;
const code = (text) => make("code", "", text);

async function main() {
  const place = find("#page");
  try {
    const page = await getJson("/openapi.json");
    place.replaceChildren(...whole(page));
    find("#contents").replaceChildren(...contents(page));
    document.body.dataset.loaded = "true";
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  } catch (error) {
    place.replaceChildren(make("p", "alert", `The description cannot be read: ${error.message}`, { role: "alert" }));
  }
}

const routes = (page) => Object.entries(page.paths).flatMap(
  ([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));

function whole(page) {
  const { title, version, description } = page.info;
  return [
    make("h1", "", `${title} ${version}`),
    make("p", "", description),
    make("p", "dim", ["OpenAI’s clients work by their ", code("base_url"), ` = ${location.origin}/v1. The same in JSON: `,
      make("a", "", "/openapi.json", { href: "/openapi.json" }), "."]),
    ...routes(page).map((route) => section(route, page)),
    make("h1", "", "Types", { id: "types" }),
    ...Object.entries(page.components.schemas).map(([name, schema]) => type(name, schema)),
  ];
}

function contents(page) {
  const link = (text, id, method) => make("a", "", method ? [verb(method), text] : text, { href: `#${id}` });
  return [
    make("h2", "", "Routes"), ...routes(page).map(({ path, method }) => link(path, slug(method, path), method)),
    make("h2", "", "Types"), ...Object.keys(page.components.schemas).map((name) => link(name, `type-${name}`)),
  ];
}

const verb = (method) => make("span", `verb ${method}`, method.toUpperCase());

function section({ path, method, operation }, page) {
  const parts = [make("h2", "", [verb(method), make("span", "path", path)]), make("p", "", inline(operation.description ?? ""))];
  if (operation.parameters) parts.push(make("h3", "", "In the address"), table(operation.parameters.map(parameter)));
  const body = operation.requestBody?.content["application/json"];
  if (body) {
    parts.push(make("h3", "", ["Body: ", ...typeOf(body.schema)]), table(propertiesOf(body.schema, page).map(row)));
  }
  parts.push(example(path, method, body, (operation.security ?? page.security ?? []).length > 0));
  const answers = Object.entries(operation.responses).map(([status, it]) => [code(status), answerOf(it), inline(it.description)]);
  parts.push(make("h3", "", "Answers"), table(answers));
  return make("section", "route", parts, { id: slug(method, path) });
}

const parameter = (it) => [code(it.in === "query" ? `?${it.name}=` : `{${it.name}}`), typeOf(it.schema),
  [it.description, limits(it.schema)].filter(Boolean).join(" ")];

function answerOf(response) {
  const kinds = Object.entries(response.content ?? {});
  const said = ([media, { schema }]) => [...typeOf(schema ?? {}), make("span", "dim", ` ${media}`)];
  return kinds.flatMap((kind, at) => (at ? [make("br"), ...said(kind)] : said(kind)));
}

function example(path, method, body, keyed) {
  const key = keyed ? " -H 'Authorization: Bearer YOUR_KEY'" : "";
  const lines = [`curl ${location.origin}${path.replace(/\{.*?\}/g, "…")}${key}`];
  if (body?.example) {
    lines[0] += " -H 'Content-Type: application/json' \\";
    lines.push(`  -d '${JSON.stringify(body.example).replaceAll("'", "'\\''")}'`);
  }
  const text = lines.join("\n");
  const button = make("button", "small", "Copy", { type: "button", onclick: () => copy(button, text) });
  return method === "get" || body?.example ? make("div", "example", [make("pre", "", code(text)), button]) : "";
}

function type(name, schema) {
  const fields = Object.entries(schema.properties ?? {});
  const required = new Set(schema.required ?? []);
  const rows = fields.map(([field, it]) => row({ name: field, schema: it, required: required.has(field) }));
  return make("section", "type", [
    make("h2", "", name),
    make("p", "", inline(schema.description ?? "")),
    fields.length ? table(rows) : make("p", "", typeOf(schema)),
  ], { id: `type-${name}` });
}

function row({ name, schema, required }) {
  const notes = [schema.description, limits(schema)].filter(Boolean).join(" ");
  const label = required ? [code(name), make("span", "needed", "required")] : [code(name)];
  return [label, typeOf(schema), inline(notes)];
}

function table(rows) {
  const cells = (row) => row.map((cell) => make("td", "", cell));
  return make("div", "scroll", make("table", "", rows.map((each) => make("tr", "", cells(each)))), { tabIndex: 0 });
}

main();
