// Prometheus' text form as numbers, and what two readings of them say.

const LINE = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)/;

/** By name; what differs only in its labels is added up. Buckets of histograms are left out. */
export function parse(text) {
  const found = {};
  for (const line of text.split("\n")) {
    const [, name, , value] = LINE.exec(line) ?? [];
    if (name && !name.endsWith("_bucket")) found[name] = (found[name] ?? 0) + Number(value);
  }
  return found;
}

/** How fast a counter has grown between two readings; null where that cannot be said, as after a restart. */
export function perSecond(name, before, after) {
  if (!before) return null;
  const grown = (after.values[name] ?? 0) - (before.values[name] ?? 0);
  return grown < 0 ? null : grown / (after.time - before.time);
}

/** One counter's growth by another's; null where that has not grown. */
export function ratio(over, under, before, after) {
  const grown = (name) => (after.values[name] ?? 0) - (before?.values?.[name] ?? 0);
  return grown(under) > 0 ? grown(over) / grown(under) : null;
}
