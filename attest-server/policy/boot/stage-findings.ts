import type { BootComponent } from '../../verify/boot/boot-state.ts';
import { type ArgumentDifference, argumentDifference } from '../command-line.ts';
import type { Finding } from '../finding.ts';
import type { StageDifference } from './compare-stages.ts';
import { strongestDigest } from './compared-pcrs.ts';
import type { OpenStage } from './judge-stages.ts';
import {
  type Cause,
  type JudgedStage,
  scopeOf,
  secureBootOff,
  stageCauses,
  stageNames,
} from './judged-stage.ts';
import { keyChange } from './key-change.ts';
import type { ReferencedComponent } from './prepared-components.ts';
import type { PreparedReference } from './reference-set.ts';
import { ruleFinding } from './rule-finding.ts';
import type { BootRules } from './rules.ts';
import { argumentsChange, changeOf, type MeasuredThing, nameOf, quoted } from './sentence.ts';
import type { VouchedBoot } from './vouched-boot.ts';

/**
 * One finding for a stage that differs from the closest reference: its first component that does.
 * @param isSigned an allowed signer vouches for all that differs
 */
export function stageFinding(
  boot: VouchedBoot,
  difference: StageDifference,
  rules: BootRules,
  isSigned: boolean,
): Finding {
  const { stage, unknown, missing, reference } = difference;
  const name = reference.reference.name;
  const actual = validationOff(boot, unknown) ?? firstOf(stage, unknown);
  const expected = actual === null ? (missing[0] ?? null) : counterpartOf(actual, difference);
  const [code, words] = causeOf(boot, stage, unknown, actual);
  const where = actual === null ? placeOf(expected) : whereIs(actual);
  const change =
    valueChange(actual, expected, name) ??
    argumentsOf(boot, actual, expected, rules, name) ??
    keyChange(boot, actual, expected, reference) ??
    changeOf(expected && namedReferenced(expected), actual && namedActual(actual), name);
  return {
    code,
    aspect: 'boot',
    source: 'tpm',
    expected: expected && withDigest(nameOf(namedReferenced(expected)), expected.digests),
    actual: actual && withDigest(nameOf(namedActual(actual)), actual.digests),
    text: `${words}: ${where} ${change}.`,
    evidence: {
      digest: boot.digest,
      position: actual === null ? placeOf(expected) : positionOf(actual),
    },
    reference: name,
    ...changedValue(stage, actual),
    ...(isSigned && { signed: true }),
    ...(scopeOf(stage, rules.scope) === 'node' && { ofNode: true }),
  };
}

function changedValue(stage: JudgedStage, actual: BootComponent | null): Pick<Finding, 'value'> {
  const digest = actual === null ? null : strongestDigest(actual.digests);
  return digest === null ? {} : { value: `${stage} ${digest}` };
}

function causeOf(
  boot: VouchedBoot,
  stage: JudgedStage,
  unknown: readonly BootComponent[],
  actual: BootComponent | null,
): Cause {
  if (stage === 'secureboot' && turnedOff(boot, unknown)) return secureBootOff;
  if (actual !== null && validationOff(boot, unknown) === actual)
    return ['secureboot_policy', 'shim checks no signatures (MokSBState = 01)'];
  // Extensions of the system and other add-ons, which the stub packs into the initrd.
  if (stage === 'other' && (actual?.pcr === 12 || actual?.pcr === 13))
    return ['initrd_unmeasured', 'The boot loader gave the kernel an add-on that is in no reference'];
  return stageCauses[stage];
}

function turnedOff({ state: { secureBoot } }: VouchedBoot, unknown: readonly BootComponent[]): boolean {
  return secureBoot.enabled === false && unknown.some(({ event }) => event === secureBoot.event);
}

/** The event that disables shim's checks; null if it is unchanged, or there is none. */
function validationOff(
  { state: { secureBoot } }: VouchedBoot,
  unknown: readonly BootComponent[],
): BootComponent | null {
  if (!secureBoot.validationOff) return null;
  const off = secureBoot.machineOwner.filter(
    ({ name, content }) => name === 'MokSBState' && content === 'on',
  );
  return unknown.find(({ event }) => off.some((one) => one.event === event)) ?? null;
}

/** A loader itself before what it read, a command line that can be read before one that cannot. */
function firstOf(stage: JudgedStage, unknown: readonly BootComponent[]): BootComponent | null {
  const better = unknown.find(
    ({ kind, text }) => (stage === 'loader' && kind === 'code') || (stage === 'cmdline' && text !== null),
  );
  return better ?? unknown[0] ?? null;
}

/** The component that the reference has in its place. */
function counterpartOf(
  actual: BootComponent,
  { missing, reference }: StageDifference,
): ReferencedComponent | null {
  if (actual.stage === 'cmdline' && actual.text !== null) {
    const lines = reference.components.lines.filter(({ pcr }) => pcr === null || pcr === actual.pcr);
    return missing.find(({ line, pcr }) => line !== null && pcr === actual.pcr) ?? lines[0] ?? null;
  }
  const same = missing.filter(({ pcr }) => pcr === null || pcr === actual.pcr);
  return (
    same.find(({ description }) => description === actual.describes) ??
    same.find(({ kind }) => kind === actual.kind) ??
    same[0] ??
    null
  );
}

/** The change of a PCR that is compared as a whole. */
function valueChange(
  actual: BootComponent | null,
  expected: ReferencedComponent | null,
  name: string,
): string | null {
  if (actual?.kind === 'value')
    return expected === null
      ? `is in no part explained by the log, and reference ${name} has no value of it`
      : `has another value than in reference ${name}, and the log does not replay onto it`;
  return expected?.kind === 'value' && actual === null
    ? `is compared part by part, since the log replays onto it, but reference ${name} has only its value`
    : null;
}

function argumentsOf(
  boot: VouchedBoot,
  actual: BootComponent | null,
  expected: ReferencedComponent | null,
  { cmdline }: BootRules,
  name: string,
): string | null {
  const line = actual && boot.lineOf(actual);
  if (!line || !expected?.line) return null;
  const { more, less }: ArgumentDifference = argumentDifference(expected.line, line, cmdline.allow);
  if (more.length + less.length > 0) return argumentsChange(more, less, name);
  return `has the arguments of reference ${name} in another order`;
}

function namedActual({ describes, type }: BootComponent): MeasuredThing {
  return { describes, type };
}

function namedReferenced({ description, stage }: ReferencedComponent): MeasuredThing {
  return { describes: description, type: stageNames[stage] };
}

function whereIs(actual: BootComponent): string {
  return actual.kind === 'value' ? `PCR ${actual.pcr}` : `event ${actual.event} in PCR ${actual.pcr}`;
}

function positionOf({ kind, pcr, event }: BootComponent): string {
  return kind === 'value' ? `PCR ${pcr}` : `event ${event}`;
}

function placeOf(expected: ReferencedComponent | null): string {
  return expected === null || expected.pcr === null ? 'log' : `PCR ${expected.pcr}`;
}

function withDigest(name: string, digests: ReferencedComponent['digests']): string {
  const digest = strongestDigest(digests);
  return digest === null ? name : `${name} ${digest}`;
}

/** A stage that the policy leaves open and that no reference knows: only reported. */
export function openFinding({ digest }: VouchedBoot, { stage, component }: OpenStage): Finding {
  return {
    code: stageCauses[stage][0],
    aspect: 'boot',
    source: 'tpm',
    severity: 'warn',
    expected: null,
    actual: withDigest(nameOf(namedActual(component)), component.digests),
    text: `No reference knows the ${stageNames[stage]} ${quoted(nameOf(namedActual(component)))} of ${positionOf(component)}. The policy allows that (scope ${stage}: unpinned).`,
    evidence: { digest, position: positionOf(component) },
    ...changedValue(stage, component),
  };
}

/** A stage that only this node's own reference may speak of. */
export function foreignFinding(boot: VouchedBoot, { stage, component }: OpenStage, node: string): Finding {
  return {
    ...openFinding(boot, { stage, component }),
    severity: 'fail',
    ofNode: true,
    expected: `an active reference captured on ${node}`,
    text: `The policy wants a reference captured on ${node} itself, and no active one was: this concerns its ${stageNames[stage]} ${quoted(nameOf(namedActual(component)))} (scope ${stage}: node).`,
  };
}

/** One finding for all the stages that no reference covers. */
export function uncoveredFinding(boot: VouchedBoot, stages: readonly JudgedStage[]): Finding {
  const names = stages.map((stage) => stageNames[stage]).join(', ');
  return {
    code: 'no_reference',
    aspect: 'boot',
    source: 'server',
    expected: `an active reference that covers: ${names}`,
    actual: null,
    text: `No active reference covers this part of the boot: ${names}.`,
    evidence: { digest: boot.digest, position: 'log' },
  };
}

/** A stage of which a reference has all, and the boot measured it in another order. */
export function misplacedFinding(
  boot: VouchedBoot,
  { stage, misplaced, reference: { reference } }: StageDifference,
): Finding {
  const [one] = misplaced;
  if (one === undefined) throw new Error('a stage without misplaced components is in order');
  const name = quoted(nameOf(namedActual(one)));
  const text = `The ${stageNames[stage]} was measured in another order than in reference ${reference.name}: ${name} (event ${one.event} in PCR ${one.pcr}) is not in its place. Something started in another way, or was extended later.`;
  const wanted = `the order of ${reference.name}`;
  const finding = ruleFinding(boot, 'pcr_mismatch', one.event, wanted, nameOf(namedActual(one)), text);
  return { ...finding, reference: reference.name };
}

/** A loader, or what it reads, that was measured when its kernel ran already. */
export function behindKernelFinding(boot: VouchedBoot, late: BootComponent): Finding {
  const name = nameOf(namedActual(late));
  const text = `${quoted(name)} (event ${late.event} in PCR ${late.pcr}) was measured after the kernel, but a boot loader and what it reads come before the kernel. Something extended it later.`;
  return ruleFinding(boot, 'pcr_mismatch', late.event, 'a boot loader before its kernel', name, text);
}

/** A PCR that a reference speaks of and the quote does not cover. */
export function unquotedFinding(pcr: number, references: readonly PreparedReference[]): Finding {
  const named = references.find(({ components }) => components.all.some((one) => one.pcr === pcr));
  const why =
    named === undefined
      ? 'nobody knows what was measured there'
      : `it is in reference ${named.reference.name}`;
  return {
    code: 'pcr_mismatch',
    aspect: 'boot',
    source: 'tpm',
    expected: `PCR ${pcr} quoted`,
    actual: null,
    text: `The node did not quote PCR ${pcr}: ${why}.`,
    evidence: null,
  };
}

/** A PCR of add-ons that was extended, by something that no log tells. */
export function unexplainedFinding({ digest }: VouchedBoot, pcr: number): Finding {
  return {
    code: 'pcr_mismatch',
    aspect: 'boot',
    source: 'tpm',
    expected: `PCR ${pcr} as the log leaves it`,
    actual: `PCR ${pcr} extended`,
    text: `PCR ${pcr} does not hold what the boot log says: something was extended that is in no log. It is not known what was added to the kernel.`,
    evidence: { digest, position: `PCR ${pcr}` },
  };
}
