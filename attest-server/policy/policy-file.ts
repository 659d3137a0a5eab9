import { hash } from 'node:crypto';
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import type { z } from 'zod';
import { defaultBootRules } from './boot/rules.ts';
import { type Enrolment, enrolments, type Policy, plainEnrolments } from './policy.ts';
import { PolicyError, type PolicyFault } from './policy-error.ts';
import { notBuilt, policySchema, unsupported } from './policy-schema.ts';

type Path = readonly PropertyKey[];
interface Located {
  readonly path: Path;
  readonly text: string;
}

/** Characters. A policy is written by people; what is longer is no policy. */
const longest = 1 << 18;

/**
 * Parses a policy file (YAML 1.2, interface.md "A policy").
 * @param file the path that faults are told with; its base name without ending becomes the policy's name
 * @param ways by which nodes can enrol at whoever will apply it; a policy that names another one is refused
 * @throws PolicyError with every fault at once
 */
export function parsePolicy(text: string, file: string, ways = plainEnrolments): Policy {
  if (text.length > longest)
    throw new PolicyError(file, [whole(`longer than ${longest} characters; split it into fewer groups`)]);
  const lines = new LineCounter();
  const { document, raw } = readYaml(text, file, lines);
  const result = policySchema.safeParse(raw, { reportInput: true });
  const located = [
    ...(result.success ? [] : result.error.issues.flatMap(explain)),
    ...acrossFields(raw, ways),
  ];
  if (!result.success || located.length > 0) throw new PolicyError(file, place(located, document, lines));
  return {
    name: nameOf(file),
    revision: hash('sha256', text, 'hex').slice(0, 12),
    text,
    groups: result.data.groups.map(({ boot, labels: _labels, reaction: _reaction, ...group }) => ({
      ...group,
      enrolment: [...new Set(group.enrolment)],
      require: [...new Set(group.require)],
      labels: {},
      tpm: 'required',
      boot: { ...defaultBootRules, references: boot?.references ?? null },
      freshness: null,
    })),
  };
}

function nameOf(file: string): string {
  const base = file.slice(file.lastIndexOf('/') + 1).replace(/\.(ya?ml|json)$/, '');
  return base === '' ? 'policy' : base;
}

function whole(text: string): PolicyFault {
  return { line: 1, field: 'policy', text };
}

function readYaml(text: string, file: string, lines: LineCounter): { document: Document; raw: unknown } {
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true });
    const faults = [...document.errors, ...document.warnings].map(({ pos, message }) => ({
      line: lines.linePos(pos[0]).line || 1,
      field: 'policy',
      text: message,
    }));
    visit(document, {
      Alias(_key, { range, source }) {
        const text = `the alias *${source} is not supported; write the value out`;
        faults.push({ line: lines.linePos(range?.[0] ?? 0).line || 1, field: 'policy', text });
      },
    });
    if (faults.length > 0) throw new PolicyError(file, inOrder(faults));
    return { document, raw: document.toJS() };
  } catch (cause) {
    if (cause instanceof RangeError) throw new PolicyError(file, [whole('nested too deeply to be a policy')]);
    throw cause;
  }
}

/** What one field cannot tell. Reads the raw value, so that these faults are told beside those of the schema. */
function acrossFields(raw: unknown, ways: readonly Enrolment[]): Located[] {
  const faults: Located[] = [];
  const names = new Set<unknown>();
  for (const [index, group] of listOf(fieldOf(raw, 'groups')).entries()) {
    const name = fieldOf(group, 'name');
    if (name !== undefined && names.has(name))
      faults.push({ path: ['groups', index, 'name'], text: 'another group above has this name' });
    names.add(name);
    const mode = fieldOf(group, 'mode');
    const given = fieldOf(group, 'require');
    const require = listOf(given);
    const missing = ['identity', 'boot'].filter((aspect) => !require.includes(aspect));
    if ((mode === 'label' || mode === 'enforce') && missing.length > 0)
      faults.push({
        path: ['groups', index, given === undefined ? 'mode' : 'require'],
        text: `mode ${mode} needs require: [identity, boot]; missing: ${missing.join(', ')}`,
      });
    const named = listOf(fieldOf(group, 'enrolment'));
    for (const way of enrolments)
      if (named.includes(way) && !ways.includes(way))
        faults.push({ path: ['groups', index, 'enrolment', named.indexOf(way)], text: unsupported });
    const firstUse = named.indexOf('first-use');
    if ((mode === 'label' || mode === 'enforce') && firstUse >= 0)
      faults.push({
        path: ['groups', index, 'enrolment', firstUse],
        text: `mode ${mode} takes no first-use: whoever comes first would be trusted`,
      });
  }
  return faults;
}

function fieldOf(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function explain(issue: z.core.$ZodIssue): Located[] {
  const { path } = issue;
  const parent = path.at(-2);
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({ path: [...path, key], text: unknownKey(path, key) }));
  if (parent === 'require' && path[0] === 'groups') {
    const known: readonly unknown[] = notBuilt.require;
    const input = issue.input;
    const words = typeof input === 'object' && input !== null ? Object.keys(input) : [input];
    if (words.length > 0 && words.every((word) => known.includes(word) || typeof input === 'object'))
      return [{ path, text: unsupported }];
  }
  return [{ path, text: issue.input === undefined ? 'missing' : issue.message }];
}

function unknownKey(path: Path, key: string): string {
  const inGroup = path[0] === 'groups' && path.length === 2;
  if (path[0] === 'groups' && path[2] === 'severity') return 'no reason code';
  const inBoot = path[0] === 'groups' && path.length === 3 && path[2] === 'boot';
  const known: readonly string[] = inGroup ? notBuilt.group : inBoot ? notBuilt.boot : [];
  return known.includes(key) ? unsupported : 'unknown key';
}

function place(located: readonly Located[], document: Document, lines: LineCounter): PolicyFault[] {
  return located
    .map((fault) => ({ ...fault, offset: offsetOf(fault.path, document) }))
    .sort((a, b) => a.offset - b.offset)
    .map(({ path, text, offset }) => ({
      line: lines.linePos(offset).line || 1,
      field: path.map(String).join('.') || 'policy',
      text,
    }));
}

/** Of the value's key, or of the nearest thing around it that is there. */
function offsetOf(path: Path, document: Document): number {
  let node: unknown = document.contents;
  let offset = 0;
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === step);
      if (pair === undefined) break;
      if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      if (isMap(node) || isSeq(node) || isScalar(node) || isAlias(node)) offset = node.range?.[0] ?? offset;
    } else break;
  }
  return offset;
}

function inOrder(faults: readonly PolicyFault[]): PolicyFault[] {
  return [...faults].sort((a, b) => a.line - b.line);
}
