import type { HostFacts } from '../../wire/facts.ts';
import { compareKernels, parseKernelRelease } from '../../wire/kernel-release.ts';
import { outsideText } from '../../wire/printable.ts';
import type { ReasonCode } from '../../wire/reasons.ts';
import type { Finding } from '../finding.ts';
import type { HostRules, SysctlRule } from './rules.ts';
import { taintsOf, taintText } from './taints.ts';

/** The outcome of one rule on a node: nothing, that it is broken, or that it cannot be determined. */
export interface HostOutcome {
  /** The code of a breach of the rule. */
  readonly code: ReasonCode;
  readonly findings: readonly Finding[];
  /** The node gave all that shows whether the rule is broken. */
  readonly isRead: boolean;
}

export function outcomesOf(facts: HostFacts, rules: HostRules): readonly HostOutcome[] {
  const all: readonly (readonly [ReasonCode, ...(Finding | null)[]])[] = [
    ['ssh_reachable', onSsh(facts, rules)],
    ['kernel_tainted', onTaints(facts, rules)],
    ['sysctl_policy', ...onSysctls(facts, rules)],
    ['kernel_outdated', onKernel(facts, rules)],
    ['lockdown_off', onLockdown(facts, rules)],
  ];
  return all.map(([code, ...found]) => {
    const findings = found.filter((finding) => finding !== null);
    return {
      code,
      findings,
      isRead: !findings.some((finding) => isNotSaid(finding) || isMild(facts, finding)),
    };
  });
}

/** Attack: a module that counted against the node because of its lockdown, of which it says nothing any more. */
function isMild({ lockdown }: HostFacts, { code, severity }: Finding): boolean {
  return code === 'kernel_tainted' && severity === 'warn' && lockdown === undefined;
}

/** The node did not give what the rule needs. */
export function isNotSaid({ code }: Pick<Finding, 'code'>): boolean {
  return code === 'facts_unavailable';
}

/** Whatever listens on a port of SSH is taken for SSH, on loopback too: a tunnel or a pod on the host's network reaches it. */
function onSsh(facts: HostFacts, rules: HostRules): Finding | null {
  if (rules.ssh === 'report') return null;
  const { ssh, listening } = facts;
  const sources = new Map<number, string>([[22, 'the usual port']]);
  for (const port of rules.sshPorts) sources.set(port, 'host.sshPorts of the policy');
  for (const { port, source } of ssh?.ports ?? []) if (port !== 22) sources.set(port, source);
  const open = (listening ?? []).filter((port) => sources.has(port));
  const running = (ssh?.daemons ?? []).filter(({ sockets }) => sockets !== null && sockets.length > 0);
  if (open.length > 0 || running.length > 0)
    return hostFinding('ssh_reachable', {
      expected: 'no SSH that listens',
      actual: shown([
        ...open.map((port) => `port ${port} (${sources.get(port)})`),
        ...running.map(({ name, sockets }) => `${name} on ${sockets?.slice(0, 4).join(', ')}`),
      ]),
      text: 'SSH listens on the node.',
    });
  if (listening === undefined || causeOf(facts, 'listening') !== null)
    return missing(facts, 'listening', 'on which ports something listens');
  if (ssh === undefined || causeOf(facts, 'ssh') !== null)
    return missing(facts, 'ssh', 'where SSH is configured to listen');
  const hidden = ssh.daemons.find(({ sockets }) => sockets === null);
  if (hidden === undefined) return null;
  return {
    ...missing(facts, 'ssh', `on which sockets ${hidden.name} listens`),
    actual: `${hidden.name} runs, and the agent may not see its sockets`,
  };
}

function onTaints(facts: HostFacts, { forbiddenTaints, suspectTaints }: HostRules): Finding | null {
  if (forbiddenTaints.length + suspectTaints.length === 0) return null;
  if (facts.tainted === undefined) return missing(facts, 'tainted', 'how its kernel is tainted');
  const set = taintsOf(facts.tainted);
  const forbidden = forbiddenTaints.filter((letter) => set.includes(letter));
  const suspect = suspectTaints.filter((letter) => set.includes(letter));
  const actual = [...forbidden, ...suspect].map(taintText).join(', ');
  const text = 'The kernel says that it was changed while it ran, in a way that the policy forbids.';
  if (forbidden.length > 0)
    return hostFinding('kernel_tainted', { expected: `none of ${forbiddenTaints.join(', ')}`, actual, text });
  if (suspect.length === 0) return null;
  // Attack: a node that was found with one says afterwards that it cannot read its lockdown.
  if (causeOf(facts, 'lockdown') !== null)
    return missing(facts, 'lockdown', 'how far its kernel is locked down');
  if (facts.lockdown !== undefined && facts.lockdown !== 'none')
    return hostFinding('kernel_tainted', {
      expected: `none of ${suspect.join(', ')} under lockdown ${facts.lockdown}`,
      actual,
      text,
    });
  return hostFinding('kernel_tainted', {
    severity: 'warn',
    expected: 'signed modules alone',
    actual,
    text: 'The kernel loaded a module that nobody signed, as drivers that are built on the node are.',
  });
}

function onSysctls(facts: HostFacts, { sysctls: rules }: HostRules): readonly Finding[] {
  if (rules.length === 0) return [];
  const given = facts.sysctls;
  const givenOf = (name: string) =>
    given !== undefined && Object.hasOwn(given, name) ? given[name] : undefined;
  const absent = rules.filter(({ name }) => givenOf(name) === undefined).map(({ name }) => name);
  const broken = rules.flatMap((rule) => {
    const value = givenOf(rule.name);
    return value === undefined || obeys(value, rule) ? [] : [{ rule, value }];
  });
  const findings: Finding[] = [];
  if (broken.length > 0)
    findings.push(
      hostFinding('sysctl_policy', {
        expected: shown(broken.map(({ rule }) => ruleText(rule))),
        actual: shown(broken.map(({ rule, value }) => `${rule.name} = ${value}`)),
        text: 'Settings of the kernel are other than the policy wants.',
      }),
    );
  if (absent.length > 0) findings.push(missing(facts, 'sysctls', shown(absent)));
  return findings;
}

function obeys(value: string, { values, minimum }: SysctlRule): boolean {
  if (values !== null) return values.some((one) => BigInt(one) === BigInt(value));
  return minimum !== null && BigInt(value) >= BigInt(minimum);
}

function ruleText({ name, values, minimum }: SysctlRule): string {
  return values === null ? `${name} >= ${minimum}` : `${name} = ${values.join(' or ')}`;
}

function onKernel(facts: HostFacts, { minimumKernel }: HostRules): Finding | null {
  if (minimumKernel === null) return null;
  const { kernel } = facts;
  const release = kernel === undefined ? null : parseKernelRelease(kernel);
  if (kernel === undefined || release === null) return missing(facts, 'kernel', 'the release of its kernel');
  if (compareKernels(release, minimumKernel.release) >= 0) return null;
  return hostFinding('kernel_outdated', {
    severity: 'warn',
    expected: `${minimumKernel.text} or newer`,
    actual: outsideText(kernel),
    text: 'The running kernel is older than the policy requires.',
  });
}

const levels = ['none', 'integrity', 'confidentiality'] as const;

function onLockdown(facts: HostFacts, { lockdown }: HostRules): Finding | null {
  if (lockdown === null) return null;
  if (facts.lockdown === undefined) return missing(facts, 'lockdown', 'how far its kernel is locked down');
  if (levels.indexOf(facts.lockdown) >= levels.indexOf(lockdown)) return null;
  return hostFinding('lockdown_off', {
    severity: 'warn',
    expected: lockdown === 'integrity' ? 'lockdown integrity or confidentiality' : 'lockdown confidentiality',
    actual: facts.lockdown,
    text: 'The kernel is not locked down, so root can change it while it runs.',
  });
}

/** As much as one line can hold of a list that a node may make long. */
function shown(parts: readonly string[]): string {
  const few = parts.slice(0, 8);
  return parts.length > few.length
    ? `${few.join('; ')}; and ${parts.length - few.length} more`
    : few.join('; ');
}

/** A fact that a rule needs and the node did not give. @param name of the fact, as `unread` of the facts has it */
function missing(facts: HostFacts, name: keyof HostFacts, what: string): Finding {
  const cause = causeOf(facts, name);
  return {
    code: 'facts_unavailable',
    aspect: 'host',
    source: 'host',
    expected: what,
    actual: cause ?? 'the node does not say it',
    text: `The node does not say ${what}. So this is not proven.`,
    evidence: null,
  };
}

function causeOf({ unread }: HostFacts, name: string): string | null {
  return unread !== undefined && Object.hasOwn(unread, name) ? (unread[name] ?? null) : null;
}

function hostFinding(
  code: ReasonCode,
  finding: Pick<Finding, 'expected' | 'actual' | 'text' | 'severity'>,
): Finding {
  return { code, aspect: 'host', source: 'host', evidence: null, ...finding };
}
