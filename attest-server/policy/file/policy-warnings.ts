import type { ReasonCode } from '../../protocol/reasons.ts';
import { refusesLines, wantsRevocations } from '../boot/rules.ts';
import type { Policy, PolicyGroup } from '../policy.ts';
import { covers } from './contradictions.ts';
import type { Located } from './policy-error.ts';

/** Seconds between two challenges, where a server is not set otherwise. */
const usualChallenge = 60;

/** What is allowed, and may not be what was meant. */
export function warningsOf({ groups }: Pick<Policy, 'groups'>): Located[] {
  const warnings = groups.flatMap((group, index) =>
    [
      ...ofReach(group, groups.slice(0, index)),
      ...ofBoot(group),
      ...ofIdleRules(group),
      ...ofFreshness(group),
    ].map(({ path, text }) => ({ path: ['groups', index, ...path], text })),
  );
  if (!groups.some(({ nodes, labels }) => nodes.some(isEverything) && Object.keys(labels).length === 0))
    warnings.push({
      path: ['groups'],
      text: 'no group matches every node: the others are observed, and never trusted; end with a group for "*"',
    });
  return warnings;
}

function ofReach({ nodes }: PolicyGroup, above: readonly PolicyGroup[]): Located[] {
  const taken = above.filter(({ labels }) => Object.keys(labels).length === 0);
  const hiding = (glob: string) => taken.find((group) => group.nodes.some((wide) => covers(wide, glob)));
  if (!nodes.every((glob) => hiding(glob) !== undefined)) return [];
  const name = hiding(nodes[0] ?? '')?.name;
  return [{ path: ['nodes'], text: `no node gets here: group ${name} above matches them all` }];
}

function ofBoot({ mode, boot, tpm }: PolicyGroup): Located[] {
  if (tpm === 'absent') return [];
  const warnings: Located[] = [];
  for (const stage of ['firmware', 'loader', 'kernel', 'initrd'] as const)
    if (boot.scope[stage] === 'unpinned')
      warnings.push({
        path: ['boot', 'scope', stage],
        text:
          mode === 'observe'
            ? `any ${stage} is taken`
            : `mode ${mode} takes any ${stage}: whoever can replace it changes what boots, unseen`,
      });
  if (boot.signers.length > 0 && boot.secureBoot !== 'required')
    warnings.push({
      path: ['boot', 'signers'],
      text: 'nobody checks signatures where Secure Boot is off; add secureBoot: required',
    });
  if (boot.cmdline.allow.some(isEverything))
    warnings.push({ path: ['boot', 'cmdline', 'allow'], text: 'allows every argument, init=/bin/sh too' });
  if (boot.withoutLog === 'pcrs')
    warnings.push({
      path: ['boot', 'withoutLog'],
      text: 'a boot without a log cannot be explained, and rules on its parts are not applied to it',
    });
  return warnings;
}

/** Rules that are written down and refuse nothing. */
function ofIdleRules({ require, boot, severity, tpm }: PolicyGroup): Located[] {
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
  ];
  const written = table.filter(([, , isWritten]) => isWritten);
  const [first] = written;
  if (first === undefined || tpm === 'absent') return [];
  if (!require.includes('boot'))
    return [{ path: ['boot', first[0]], text: 'require does not name boot, so that this is only reported' }];
  const taken = new Map(written.map(([rule, code]) => [code, rule]));
  return [...taken].flatMap(([code, rule]) => {
    const weight = severity[code] ?? 'fail';
    if (weight === 'fail') return [];
    return [{ path: ['severity', code], text: `${weight} only, so that boot.${rule} refuses nothing` }];
  });
}

function ofFreshness({ freshness }: PolicyGroup): Located[] {
  if (freshness === null || freshness > usualChallenge) return [];
  const text = `nodes are asked every ${usualChallenge} s, where the server is not set otherwise: they would be unknown in between`;
  return [{ path: ['freshness'], text }];
}

function isEverything(glob: string): boolean {
  return /^\*+$/.test(glob);
}
