// Text of a line in pieces with the names of their kinds, for colours. Nothing is understood, only recognised.

const RULES = {
  python: [
    ["comment", /#.*/y],
    ["string", /[rbfuRBFU]?("""(?:[^\\]|\\.)*?(?:"""|$)|'''(?:[^\\]|\\.)*?(?:'''|$)|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')/y],
    ["keyword", /\b(?:def|return|for|while|if|elif|else|in|not|and|or|is|lambda|import|from|as|class|with|pass|break|continue|assert|None|True|False|raise|try|except|finally|yield|global|nonlocal|del)\b/y],
    ["decorator", /@[\w.]+/y],
    ["builtin", /\b(?:tl|triton|rtriton)(?:\.\w+)+/y],
    ["literal", /\b\d[\w.]*/y],
    ["call", /\b[A-Za-z_]\w*(?=\()/y],
    ["", /\w+/y],
  ],
  tir: [
    ["comment", /\/\/.*/y],
    ["layout", /#l\d+\b/y],
    ["value", /%[\w.]+/y],
    ["type", /\b(?:\d+x)*(?:\*?(?:const )?)(?:[iuf]\d+|bf16|f8\w+)\b/y],
    ["type", /(?:\b\d+x)+\*?(?:const )?(?:[iuf]\d+|bf16|f8\w+)\b/y],
    ["type", /\*(?:const )?(?:[iuf]\d+|bf16|f8\w+)\b/y],
    ["string", /"[^"]*"/y],
    ["keyword", /\b(?:kernel|yield|for|while|if|barrier|layout|shared)\b/y],
    ["op", /(?<== )[a-z_]\w*/y],
    ["op", /(?<=^\s*)[a-z_]\w*/y],
    ["attribute", /\b\w+(?= = )/y],
    ["literal", /-?\b\d[\w.]*/y],
    ["", /\w+/y],
  ],
  ptx: [
    ["comment", /\/\/.*/y],
    ["label", /\$\w+/y],
    ["guard", /@!?%p\d+/y],
    ["memory", /(?<=^\s*(?:@!?%p\d+ )?)(?:ld|st|atom|red|cp|ldmatrix|stmatrix)[\w.:]*/y],
    ["barrier", /(?<=^\s*(?:@!?%p\d+ )?)(?:bar|barrier|mbarrier|fence|membar)[\w.:]*/y],
    ["tensor", /(?<=^\s*(?:@!?%p\d+ )?)(?:mma|wgmma)[\w.:]*/y],
    ["op", /(?<=^\s*(?:@!?%p\d+ )?)[a-z][\w.:]*/y],
    ["value", /%[\w.]+/y],
    ["keyword", /\.[a-z]\w*/y],
    ["literal", /\b0[fdx][0-9A-Fa-f]+|-?\b\d+\b/y],
    ["", /\w+/y],
  ],
  sass: [
    ["comment", /\/\*[0-9a-f]+\*\//y],
    ["label", /`?\(?\.L\w+\)?:?/y],
    ["guard", /@!?U?P\w+/y],
    ["memory", /\b(?:LDG|STG|LDS|STS|LDL|STL|LDGSTS|LDSM|STSM|ATOM\w*|RED|UBLKCP|LDGDEPBAR|LDC|ULDC)\b[\w.]*/y],
    ["barrier", /\b(?:BAR|DEPBAR|MEMBAR|WARPSYNC|BSYNC|BSSY|SYNCS)\b[\w.]*/y],
    ["tensor", /\b(?:HMMA|IMMA|DMMA|QMMA|HGMMA|WARPGROUP)\b[\w.]*/y],
    ["op", /\b[A-Z][A-Z0-9]{1,}(?:\.[\w.]+)?(?=\s|$)/y],
    ["value", /\b(?:U?R\d+|R?Z|UP\d+|P\d+|PT|URZ|SR_\w+)\b/y],
    ["literal", /-?\b(?:0x[0-9a-f]+|\d[\d.e+-]*)\b/y],
    ["", /\w+/y],
  ],
};

/** [[kind, text], ...] of one line. */
export function tokens(language, text) {
  const rules = RULES[language] ?? [];
  const found = [];
  let plain = "";
  let at = 0;
  const flush = () => { if (plain) { found.push(["", plain]); plain = ""; } };
  while (at < text.length) {
    let taken = "";
    let kind = "";
    for (const [name, rule] of rules) {
      rule.lastIndex = at;
      const match = rule.exec(text);
      if (match && match[0]) { [taken] = match; kind = name; break; }
    }
    if (!taken) { plain += text[at]; at += 1; continue; }
    at += taken.length;
    if (!kind) { plain += taken; continue; }
    flush();
    found.push([kind, taken]);
  }
  flush();
  return found;
}
