/**
 * The policy file, every fault with its line. `policy-schema` is its grammar, `policy-error` its faults;
 * `policy.schema.json` is made of it for editors.
 */

import { hash } from 'node:crypto';
import { type Document, LineCounter, parseDocument, visit } from 'yaml';
import type { z } from 'zod';
import type { EnrolmentMethod } from '../../formats/enrolment-method.ts';
import { revisionOf } from '../../formats/policy-label.ts';
import { offsetOf } from '../../formats/yaml-offset.ts';
import { shapeWords } from '../../wire/shape-words.ts';
import { weakenedBy } from '../latch.ts';
import { type Policy, plainEnrolments } from '../policy.ts';
import { contradictionsIn } from './contradictions.ts';
import { issueExplainer } from './explain-issue.ts';
import { type LocatedFault, PolicyError, type PolicyFault } from './policy-error.ts';
import { policyGroup } from './policy-group.ts';
import { policySchema } from './policy-schema.ts';
import { warningsOf } from './policy-warnings.ts';
import { badKeys, excessOf } from './yaml-bounds.ts';

/** Characters. A policy is written by people; what is longer is no policy. */
const longest = 1 << 18;

export interface CheckedPolicy {
  readonly policy: Policy;
  /** Rules that are allowed, and may not be what was meant; in the order of their lines. */
  readonly warnings: readonly PolicyFault[];
}

/**
 * Parses a policy file (YAML 1.2, docs/policy.md).
 * @param file the path that faults are reported with; its base name without ending becomes the policy's name
 * @param methods by which nodes can enrol at whoever will apply it; a policy that names another one is refused
 * @throws PolicyError with every fault at once
 */
export function parsePolicy(text: string, file: string, methods = plainEnrolments): Policy {
  return parseDocumentOf(text, file, methods).policy;
}

/**
 * The same, with what is worth a second look.
 * @throws PolicyError with every fault at once
 */
export function checkPolicy(text: string, file: string, methods = plainEnrolments): CheckedPolicy {
  const { policy, document, lines } = parseDocumentOf(text, file, methods);
  return { policy, warnings: place(warningsOf(policy), document, lines) };
}

/**
 * Checks that a policy asks for no less than the one before, where the latch holds it.
 * @param latched names of groups; none: all
 * @param before null: not known
 * @throws PolicyError `latched`, with each place if it asks for less
 */
export function checkLatched(
  policy: Policy,
  file: string,
  latched: readonly string[],
  before: Policy | null,
): void {
  const located = weakenedBy(latched, before?.groups ?? null, policy.groups);
  if (located.length === 0) return;
  const lines = new LineCounter();
  const { document } = readYaml(policy.text, file, lines);
  const told = located.map(({ path, text }) => ({ path, text: `latched: ${text}` }));
  throw new PolicyError(file, place(told, document, lines), 'latched');
}

function parseDocumentOf(text: string, file: string, methods: readonly EnrolmentMethod[]) {
  if (text.length > longest)
    throw new PolicyError(file, [whole(`longer than ${longest} characters; split it into fewer groups`)]);
  const excess = excessOf(text);
  if (excess !== null) throw new PolicyError(file, [whole(excess)]);
  const lines = new LineCounter();
  const { document, raw } = readYaml(text, file, lines);
  const result = policySchema.safeParse(raw, { reportInput: true, error: shapeWords });
  const explain = issueExplainer();
  const located = [
    ...(result.success ? [] : ofRightKind(result.error.issues).flatMap(explain)),
    ...contradictionsIn(raw, methods),
  ];
  if (!result.success || located.length > 0) throw new PolicyError(file, place(located, document, lines));
  const policy = {
    name: nameOf(file),
    revision: revisionOf(hash('sha256', text, 'hex')),
    text,
    groups: result.data.groups.map((group) => policyGroup(group)),
  };
  return { policy, document, lines };
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
    const options = { prettyErrors: false, stringKeys: true, uniqueKeys: false };
    const document = parseDocument(text, { ...options, lineCounter: lines });
    const faults = [...document.errors, ...document.warnings].map(({ pos, message }) => ({
      line: lines.linePos(pos[0]).line || 1,
      field: 'policy',
      text: message,
    }));
    for (const { offset, text } of badKeys(document))
      faults.push({ line: lines.linePos(offset).line || 1, field: 'policy', text });
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

/** Faults of one file that are reported; whoever fixes these checks it again. */
const mostFaults = 256;

function place(located: readonly LocatedFault[], document: Document, lines: LineCounter): PolicyFault[] {
  const more = located.length - mostFaults;
  const reported = located
    .slice(0, mostFaults)
    .map((fault) => ({ ...fault, offset: offsetOf(fault.path, document) }))
    .sort((a, b) => a.offset - b.offset)
    .map(({ path, text, offset }) => ({
      line: lines.linePos(offset).line || 1,
      field: path.map(String).join('.') || 'policy',
      text,
    }));
  return more > 0 ? [...reported, whole(`and ${more} more`)] : reported;
}

function inOrder(faults: readonly PolicyFault[]): PolicyFault[] {
  return [...faults].sort((a, b) => a.line - b.line);
}

/** The length of a text that stands in place of a list is no fault that anybody could fix. */
function ofRightKind(issues: readonly z.core.$ZodIssue[]): readonly z.core.$ZodIssue[] {
  const placeOf = ({ path }: z.core.$ZodIssue) => path.join('.');
  const wrong = new Set(issues.filter(({ code }) => code === 'invalid_type').map(placeOf));
  return issues.filter((one) => !sizes.has(one.code) || !wrong.has(placeOf(one)));
}

const sizes: ReadonlySet<string> = new Set(['too_small', 'too_big']);
