// JSON Schema in words.

import { make } from "./dom.js";

const REFERENCE = "#/components/schemas/";
const WORDS = { string: "text", boolean: "true or false", integer: "whole number" };
const nameOf = (schema) => schema.$ref.slice(REFERENCE.length);
const isNull = (schema) => schema.type === "null";

/** A type as text and links: "list of Message", "number or text". */
export function typeOf(schema) {
  if (schema.$ref) return [make("a", "", nameOf(schema), { href: `#type-${nameOf(schema)}` })];
  if ("const" in schema) return [make("code", "", JSON.stringify(schema.const))];
  if (schema.enum) return joined(schema.enum.map((value) => [make("code", "", JSON.stringify(value))]), " or ");
  const options = (schema.anyOf ?? schema.oneOf ?? []).filter((option) => !isNull(option));
  if (options.length) return joined(options.map(typeOf), " or ");
  if (schema.type === "array") return ["list of ", ...typeOf(schema.items ?? {})];
  if (schema.contentSchema) return ["text, JSON of ", ...typeOf(schema.contentSchema)];
  if (schema.properties) return braced(schema);
  if (typeof schema.additionalProperties === "object") return ["object of ", ...typeOf(schema.additionalProperties)];
  return [WORDS[schema.type] ?? schema.type ?? "anything"];
}

function braced(schema) {
  const fields = Object.entries(schema.properties).map(([name, it]) => [`${name}: `, ...typeOf(it)]);
  return ["{ ", ...joined(fields, ", "), " }"];
}

const joined = (parts, between) => parts.flatMap((part, at) => (at ? [between, ...part] : part));

/** The fields of an object, the required ones first. */
export function propertiesOf(schema, page) {
  const object = schema.$ref ? page.components.schemas[nameOf(schema)] : schema;
  const required = new Set(object.required ?? []);
  const all = Object.entries(object.properties ?? {}).map(([name, it]) => ({ name, schema: it, required: required.has(name) }));
  return [...all.filter((field) => field.required), ...all.filter((field) => !field.required)];
}

const LIMITS = {
  minimum: (n) => `at least ${n}`, exclusiveMinimum: (n) => `above ${n}`,
  maximum: (n) => `at most ${n}`, exclusiveMaximum: (n) => `below ${n}`,
  minLength: (n) => (n === 1 ? "not empty" : `at least ${n} characters`), maxLength: (n) => `at most ${n} characters`,
  minItems: (n) => (n === 1 ? "not empty" : `at least ${n} entries`), maxItems: (n) => `at most ${n} entries`,
  maxProperties: (n) => `at most ${n} entries`,
};
const POWERS = Object.fromEntries([31, 32, 53, 63, 64].flatMap((n) => [[2 ** n, `2^${n}`], [-(2 ** n), `-2^${n}`]]));

/** "0 to 2; default 1.", or "" for a schema that limits nothing. */
export function limits(schema) {
  const options = (schema.anyOf ?? []).filter((option) => !isNull(option));
  const said = [schema, ...(options.length === 1 ? options : [])].flatMap((part) => bounds(part));
  if (schema.default !== undefined && schema.default !== null) said.push(`default ${JSON.stringify(schema.default)}`);
  return said.length ? `${said.join("; ")}.` : "";
}

function bounds(part) {
  if ("minimum" in part && "maximum" in part) return [`${part.minimum} to ${part.maximum}`];
  return Object.keys(LIMITS).filter((name) => name in part).map((name) => LIMITS[name](POWERS[part[name]] ?? part[name]));
}
