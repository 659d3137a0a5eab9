import type { LocatedFault } from '../file/policy-error.ts';
import { fieldOf, listOf } from '../file/raw-value.ts';
import { isEverything } from '../glob.ts';
import type { GroupBase } from '../group.ts';
import { digestOf } from './digest-of.ts';
import type { RuntimeRules } from './rules.ts';
import { signerFault } from './signer-keys.ts';

/** Reads the raw value: what no schema can say is reported beside its faults. */
export function runtimeContradictions(given: unknown): LocatedFault[] {
  const containers = fieldOf(given, 'containers');
  const lists = [
    ...['references', 'exclude', 'violationsExcept', 'deny'].map(
      (key) => [[key], fieldOf(given, key)] as const,
    ),
    ...['paths', 'references'].map((key) => [['containers', key], fieldOf(containers, key)] as const),
  ];
  return [
    ...lists.flatMap(([path, list]) => twice(list).map(([at, text]) => ({ path: [...path, at], text }))),
    ...listOf(fieldOf(given, 'deny')).slice(0, 1024).flatMap(denyFault),
    ...listOf(fieldOf(given, 'signers')).slice(0, 32).flatMap(faultOfSigner),
  ];
}

function twice(list: unknown): readonly (readonly [at: number, text: string])[] {
  const seen = new Set<unknown>();
  return listOf(list)
    .slice(0, 1024)
    .flatMap((one, at) => {
      if (typeof one !== 'string' || !seen.has(one)) {
        seen.add(one);
        return [];
      }
      return [[at, `names ${JSON.stringify(one)} twice`] as const];
    });
}

/** A digest with a digit too few would be a glob that no path matches. */
function denyFault(one: unknown, at: number): LocatedFault[] {
  if (typeof one !== 'string' || digestOf(one) !== null || /[/*]/.test(one)) return [];
  return [
    {
      path: ['deny', at],
      text: 'neither a digest of 40, 64, 96 or 128 hex digits, nor a glob on a path (/… or *…)',
    },
  ];
}

function faultOfSigner(one: unknown, at: number): LocatedFault[] {
  const fault = typeof one === 'string' && one !== '' ? signerFault(one) : null;
  return fault === null ? [] : [{ path: ['signers', at], text: fault }];
}

/** Rules that are allowed, and may not be what was meant. */
export function runtimeDoubts(rules: RuntimeRules, { require, severity }: GroupBase): LocatedFault[] {
  if (rules.isWritten && !require.includes('runtime'))
    return [{ path: ['runtime'], text: 'require does not name runtime, so that this is only reported' }];
  if (!require.includes('runtime')) return [];
  const doubts: LocatedFault[] = [];
  const wide = (path: readonly string[], globs: readonly string[], what: string) => {
    const at = globs.findIndex(coversAllPaths);
    if (at >= 0)
      doubts.push({ path: ['runtime', ...path, at], text: `every path is like this, so that ${what}` });
  };
  wide(['exclude'], rules.exclude, 'no file is unknown');
  wide(['violationsExcept'], rules.violationsExcept, 'no violation counts');
  wide(['containers', 'paths'], rules.containers?.paths ?? [], 'no file is one of the host');
  wide(['deny'], rules.deny.globs, 'no file may run');
  if (!rules.covers.includes('exec'))
    doubts.push({
      path: ['runtime', 'policy', 'covers'],
      text: 'it lacks exec, so that a node is trusted which does not measure what it runs',
    });
  const weight = severity.ima_unknown_file ?? 'fail';
  if (weight !== 'fail')
    doubts.push({
      path: ['severity', 'ima_unknown_file'],
      text: `${weight} only, so that a file that nobody knows leaves a node trusted`,
    });
  return doubts;
}

function coversAllPaths(glob: string): boolean {
  return isEverything(glob) || isEverything(glob.replace(/^\//, ''));
}
