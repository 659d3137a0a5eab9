import type { ReasonCode } from '../../wire/reasons.ts';
import type { LocatedFault } from '../file/policy-error.ts';
import { fieldOf, listOf } from '../file/raw-value.ts';
import { covers, globMatches, isEverything } from '../glob.ts';
import type { GroupBase } from '../group.ts';
import { type BootRules, refusesLines, wantsRevocations } from './rules.ts';

/** Rules that are allowed, and may not be what was meant. */
export function doubtsIn(rules: BootRules, group: GroupBase): LocatedFault[] {
  return [...ofRules(rules, group.mode), ...ofIdleRules(rules, group)];
}

function ofRules(boot: BootRules, mode: GroupBase['mode']): LocatedFault[] {
  const warnings: LocatedFault[] = [];
  for (const stage of ['firmware', 'loader', 'kernel', 'initrd'] as const)
    if (boot.scope[stage] === 'unpinned')
      warnings.push({
        path: ['boot', 'scope', stage],
        text:
          mode === 'observe'
            ? `any ${stage} is taken`
            : `mode ${mode} accepts any ${stage}: whoever can replace it changes the boot, and nobody sees it`,
      });
  if (boot.byValue.length > 0 && boot.scope.firmware === 'unpinned')
    warnings.push({
      path: ['boot', 'byValue'],
      text: 'nothing compares a value: scope firmware is unpinned, so any firmware is taken',
    });
  for (const stage of ['firmware', 'loader', 'kernel', 'initrd'] as const)
    if (boot.scope[stage] === 'model')
      warnings.push({
        path: ['boot', 'scope', stage],
        text: 'model is an older word for group: it accepts what any machine of the group may boot. Write group, and give each model a group of its own',
      });
  if (boot.signers.length > 0 && boot.secureBoot !== 'required')
    warnings.push({
      path: ['boot', 'signers'],
      text: 'nothing checks signatures while Secure Boot is off; add secureBoot: required',
    });
  if (boot.cmdline.allow.some(isEverything))
    warnings.push({ path: ['boot', 'cmdline', 'allow'], text: 'allows every argument, even init=/bin/sh' });
  if (boot.withoutLog === 'pcrs')
    warnings.push({
      path: ['boot', 'withoutLog'],
      text: 'a boot without a log cannot be explained, and rules on its parts are not applied to it',
    });
  return warnings;
}

/** Rules that are written down and refuse nothing. */
function ofIdleRules(boot: BootRules, { require, severity }: GroupBase): LocatedFault[] {
  const { dbx, cmdline } = boot;
  const table: readonly (readonly [string, ReasonCode, boolean])[] = [
    ['secureBoot', 'secureboot_off', boot.secureBoot === 'required'],
    ['signers', 'secureboot_policy', boot.signers.length > 0],
    ['dbx', 'secureboot_policy', wantsRevocations(dbx)],
    ['sbat', 'secureboot_policy', boot.sbatMinimum !== null],
    ['mok', 'secureboot_policy', boot.mok === 'forbid'],
    ['cmdline', 'cmdline_policy', refusesLines(cmdline)],
    ['explained', 'unverified_event', boot.explained.length > 0],
    ['tpmFirmware', 'tpm_firmware', boot.tpmFirmwareDeny.length > 0],
    ['aggregate', 'facts_unavailable', boot.aggregate === 'required'],
  ];
  const written = table.filter(([, , isWritten]) => isWritten);
  const [first] = written;
  if (first === undefined) return [];
  if (!require.includes('boot'))
    return [{ path: ['boot', first[0]], text: 'require does not name boot, so this is only reported' }];
  const taken = new Map(written.map(([rule, code]) => [code, rule]));
  return [...taken].flatMap(([code, rule]) => {
    const weight = severity[code] ?? 'fail';
    if (weight === 'fail') return [];
    return [{ path: ['severity', code], text: `${weight} only, so that boot.${rule} refuses nothing` }];
  });
}

/** As many as the schema allows of one kind: it refuses more. */
const mostGlobs = 256;

/** Reads the raw value, so that these faults are reported beside those of the schema. */
export function contradictionsIn(boot: unknown): LocatedFault[] {
  const rules = fieldOf(boot, 'cmdline');
  const globs = (key: string) =>
    listOf(fieldOf(rules, key))
      .slice(0, mostGlobs)
      .filter((glob) => typeof glob === 'string');
  const forbid = globs('forbid');
  const faults: LocatedFault[] = [];
  for (const key of ['require', 'allow'])
    for (const [index, wanted] of globs(key).entries()) {
      const by = forbid.find((glob) => covers(glob, wanted));
      if (by !== undefined)
        faults.push({ path: [key, index], text: `whatever matches ${wanted} is forbidden by ${by}` });
    }
  const exact = fieldOf(rules, 'exact');
  if (typeof exact === 'string') {
    for (const key of ['require', 'allow'])
      if (globs(key).length > 0)
        faults.push({ path: ['exact'], text: `says the whole line; leave ${key} out, or exact` });
    const bad = exact.split(/\s+/).find((argument) => forbid.some((glob) => globMatches(glob, argument)));
    if (bad !== undefined) faults.push({ path: ['exact'], text: `holds ${bad}, which is forbidden` });
  }
  const scope = fieldOf(fieldOf(boot, 'scope'), 'cmdline');
  if (scope === 'exact')
    for (const key of ['require', 'allow', 'exact'])
      if (globs(key).length > 0 || (key === 'exact' && exact !== undefined))
        faults.push({
          path: [key],
          text: 'scope cmdline: exact wants the line of a reference; leave this out, or use rules',
        });
  return [
    ...faults.map(({ path, text }) => ({ path: ['cmdline', ...path], text })),
    ...byValueAndExplained(boot),
  ];
}

function byValueAndExplained(boot: unknown): LocatedFault[] {
  const byValue = listOf(fieldOf(boot, 'byValue'));
  return listOf(fieldOf(boot, 'explained'))
    .slice(0, mostGlobs)
    .flatMap((pcr, index) =>
      typeof pcr === 'number' && byValue.includes(pcr)
        ? [
            {
              path: ['explained', index],
              text: `byValue takes PCR ${pcr} as a whole where the log does not explain it`,
            },
          ]
        : [],
    );
}
