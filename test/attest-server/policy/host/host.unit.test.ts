import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { nextStep } from '../../../../attest-server/policy/advice.ts';
import {
  appraise,
  createAppraiser,
  type NodePast,
  noPast,
} from '../../../../attest-server/policy/appraise.ts';
import type { Policy } from '../../../../attest-server/policy/policy.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import { type Facts, type HostFacts, parseFacts } from '../../../../attest-server/wire/facts.ts';
import type { ReasonCode } from '../../../../attest-server/wire/reasons.ts';
import type { Verdict } from '../../../../attest-server/wire/verdict.ts';
import { provenByHand } from '../../verify/made-by-hand.ts';
import { madeProof, policyOf } from '../made-proof.ts';

const at = Date.parse('2026-11-26T12:00:00Z');
const proof = madeProof({});

/** What an agent of this version says of a node on which all is well. */
const well: HostFacts = {
  kernel: '6.12.48+deb13-amd64',
  tainted: 0,
  lockdown: 'integrity',
  listening: [6443, 10250],
  ssh: { ports: [], sockets: [], daemons: [] },
  sysctls: { 'kernel.kptr_restrict': '2', 'kernel.yama.ptrace_scope': '1', 'vm.mmap_min_addr': '65536' },
};
/** As an agent of 0.2.0 says it. */
const earlier: HostFacts = { kernel: '6.12.48+deb13-amd64', os: 'Some System', kexecLoadDisabled: true };

function saying(host: HostFacts | undefined, unavailable?: Facts['unavailable']): Proven {
  const facts: Facts = {
    purpose: 'attest',
    node: 'one',
    bootId: '0'.repeat(36),
    helloDigest: '0'.repeat(64),
    host,
    unavailable,
  };
  // What a server would not take from the wire proves nothing here.
  parseFacts(JSON.stringify(facts));
  return provenByHand(proof, { facts });
}

const required = (...rules: readonly string[]) => policyOf('require: [identity, host]', ...rules);

const judged = (host: HostFacts | undefined, policy: Policy = required(), past: NodePast = noPast) =>
  appraise(saying(host), policy, { name: 'one', past }, [], at);

function summary({ state, aspects, reasons }: Verdict): string {
  const own = reasons.filter(({ aspect }) => aspect === 'host');
  return [state, aspects.host?.status, ...own.map(({ code, severity }) => `${code} ${severity}`)].join(', ');
}

const of = (host: HostFacts | undefined, ...rules: readonly string[]) =>
  summary(judged(host, required(...rules)).verdict);

const affirmed = 'trusted, affirming';

describe('a host, by its own word,', () => {
  it('is read once while its facts are the same, and anew where they are others', () => {
    let reads = 0;
    const counted = (host: HostFacts): Proven => {
      const proven = saying(host);
      const { facts } = proven;
      const watched = new Proxy(host, {
        get(target, name, receiver): unknown {
          if (name === 'tainted') reads += 1;
          return Reflect.get(target, name, receiver);
        },
      });
      return provenByHand(proven, { facts: facts && { ...facts, host: watched } });
    };
    for (const remembers of [true, false]) {
      const appraiser = createAppraiser(required(), [], { remembers });
      const states = (proven: Proven) =>
        [1, 2, 3].map(() => appraiser(proven, { name: 'one' }, at).verdict.state);
      const good = counted(well);
      reads = 0;
      assert.deepEqual([states(good), reads], [Array(3).fill('trusted'), 1]);
      assert.deepEqual(
        [states(counted({ ...well, listening: [22] })), reads],
        [Array(3).fill('untrusted'), 2],
      );
      assert.deepEqual([states(good), reads], [Array(3).fill('trusted'), 2]);
    }
  });

  it('is affirmed where nothing is wrong, and self-reported', () => {
    const { verdict } = judged(well);
    assert.equal(summary(verdict), affirmed);
    assert.equal(verdict.aspects.host?.source, 'host');
    assert.equal(
      of(
        well,
        'host: {kernel: {minimum: "6.12"}, lockdown: integrity, sysctls: {kernel.kptr_restrict: "2"}}',
      ),
      affirmed,
    );
    assert.equal(
      summary(judged(well, policyOf('require: [identity, {host: tpm}]')).verdict),
      'pending, affirming',
    );
  });

  const cases: readonly (readonly [string, Partial<HostFacts>, string, ReasonCode, string])[] = [
    ['listens on 22 (row 63)', { listening: [22] }, '', 'ssh_reachable', 'port 22 (the usual port)'],
    [
      'listens where its configuration says (row 63)',
      {
        listening: [2222],
        ssh: { ports: [{ port: 2222, source: '/etc/ssh/sshd_config' }], sockets: [], daemons: [] },
      },
      '',
      'ssh_reachable',
      'port 2222 (/etc/ssh/sshd_config)',
    ],
    [
      'listens where the policy looks',
      { listening: [8022] },
      'host: {sshPorts: [8022]}',
      'ssh_reachable',
      'port 8022 (host.sshPorts of the policy)',
    ],
    [
      'has a daemon that listens anywhere (row 63)',
      {
        listening: [4711],
        ssh: { ports: [], sockets: [], daemons: [{ name: 'sshd', sockets: ['[::]:4711'] }] },
      },
      '',
      'ssh_reachable',
      'sshd on [::]:4711',
    ],
    [
      'listens, whatever else could not be read',
      { listening: [22], ssh: undefined, unread: { ssh: 'EACCES', listening: 'cut' } },
      '',
      'ssh_reachable',
      'port 22 (the usual port)',
    ],
    [
      'has an unsigned module though its kernel is locked down',
      { tainted: 1 << 13 },
      '',
      'kernel_tainted',
      'E (an unsigned module was loaded)',
    ],
    [
      'has an unsigned module that the policy forbids',
      { tainted: 12289, lockdown: 'none' },
      'host: {taints: {forbid: [F, E]}}',
      'kernel_tainted',
      'E (an unsigned module was loaded)',
    ],
    [
      'has an unsigned module beside one that was loaded by force',
      { tainted: (1 << 13) | (1 << 1), lockdown: 'none' },
      '',
      'kernel_tainted',
      'F (a module was loaded by force), E (an unsigned module was loaded)',
    ],
    [
      'has a module loaded and one unloaded by force',
      { tainted: 0b1010 },
      '',
      'kernel_tainted',
      'F (a module was loaded by force), R (a module was unloaded by force)',
    ],
    [
      'has a mark that the policy forbids',
      { tainted: 1 },
      'host: {taints: {forbid: [P]}}',
      'kernel_tainted',
      'P (a proprietary module was loaded)',
    ],
    [
      'has other sysctls',
      { sysctls: { 'kernel.kptr_restrict': '0', 'kernel.yama.ptrace_scope': '0' } },
      'host: {sysctls: {kernel.kptr_restrict: [1, 2], kernel.yama.ptrace_scope: {minimum: 1}}}',
      'sysctl_policy',
      'kernel.kptr_restrict = 0; kernel.yama.ptrace_scope = 0',
    ],
  ];
  for (const [what, change, rule, code, actual] of cases)
    it(`is broken where it ${what}`, () => {
      const { verdict } = judged({ ...well, ...change }, required(...(rule === '' ? [] : [rule])));
      assert.equal(summary(verdict), `untrusted, contraindicated, ${code} fail`);
      assert.equal(verdict.reasons[0]?.actual, actual);
      assert.equal(verdict.reasons[0]?.source, 'host');
    });

  it('is warned of where its kernel is old or not locked down, and stays trusted', () => {
    assert.equal(of(well, 'host: {kernel: {minimum: "6.12.49"}}'), `${affirmed}, kernel_outdated warn`);
    assert.equal(
      of({ ...well, lockdown: 'none' }, 'host: {lockdown: integrity}'),
      `${affirmed}, lockdown_off warn`,
    );
    assert.equal(of(well, 'host: {lockdown: confidentiality}'), `${affirmed}, lockdown_off warn`);
    assert.equal(
      of(well, 'host: {kernel: {minimum: "7.0"}}', 'severity: {kernel_outdated: fail}'),
      'untrusted, contraindicated, kernel_outdated fail',
    );
  });

  it('is warned of an unsigned module, as DKMS and operators of GPUs build them, and stays trusted', () => {
    // 12289: P, O and E, as a node with NVIDIA's driver says it.
    for (const tainted of [1 << 13, 12289])
      for (const lockdown of ['none', undefined] as const)
        assert.equal(of({ ...well, tainted, lockdown }), `${affirmed}, kernel_tainted warn`);
    assert.equal(
      of({ ...well, tainted: 12289, lockdown: undefined, unread: { lockdown: 'EPERM' } }),
      'pending, none, facts_unavailable fail',
    );
    assert.equal(
      of({ ...well, tainted: 12289, lockdown: 'none' }, 'host: {taints: {forbid: [F]}}'),
      affirmed,
    );
  });

  it('is affirmed with marks of signed drivers and of faults, and what the policy lets be', () => {
    assert.equal(of({ ...well, tainted: (1 << 0) | (1 << 12) | (1 << 9) }), affirmed);
    assert.equal(of({ ...well, tainted: 1 << 13 }, 'host: {taints: {forbid: []}}'), affirmed);
    assert.equal(of({ ...well, tainted: 2 ** 40 }), affirmed);
    assert.equal(of({ ...well, listening: [22] }, 'host: {ssh: report}'), affirmed);
    assert.equal(of({ ...well, sysctls: {} }), affirmed);
  });

  const hidden: readonly (readonly [string, HostFacts, string, string])[] = [
    ['which ports listen', { ...well, listening: undefined, unread: { listening: 'EACCES' } }, '', 'EACCES'],
    [
      'all ports that listen',
      { ...well, unread: { listening: 'more than 4096 ports' } },
      '',
      'more than 4096 ports',
    ],
    [
      'where SSH is configured',
      { ...well, unread: { ssh: '/etc/ssh/sshd_config: EACCES' } },
      '',
      '/etc/ssh/sshd_config: EACCES',
    ],
    [
      'what its daemon listens on',
      { ...well, ssh: { ports: [], sockets: [], daemons: [{ name: 'dropbear', sockets: null }] } },
      '',
      'dropbear runs, and the agent may not see its sockets',
    ],
    ['its taints', { ...well, tainted: undefined }, '', 'the node does not say it'],
    [
      'its lockdown',
      { ...well, lockdown: undefined, unread: { lockdown: 'EPERM' } },
      'host: {lockdown: integrity}',
      'EPERM',
    ],
    [
      'its kernel',
      { ...well, kernel: undefined },
      'host: {kernel: {minimum: "6.1"}}',
      'the node does not say it',
    ],
    [
      'its kernel in a form of Linux',
      { ...well, kernel: 'unknown' },
      'host: {kernel: {minimum: "6.1"}}',
      'the node does not say it',
    ],
    ['a sysctl', well, 'host: {sysctls: {kernel.sysrq: 0}}', 'the node does not say it'],
  ];
  for (const [what, host, rule, cause] of hidden)
    it(`is not proven where it does not say ${what}, with the cause: never as it should be`, () => {
      const { verdict } = judged(host, required(...(rule === '' ? [] : [rule])));
      assert.equal(summary(verdict), 'pending, none, facts_unavailable fail');
      assert.equal(verdict.reasons[0]?.actual, cause);
    });

  it('is pending, not broken, where its agent is of an earlier version', () => {
    for (const host of [earlier, {}, undefined])
      assert.equal(of(host), 'pending, none, facts_unavailable fail, facts_unavailable fail');
    // Who asks for nothing of it is told nothing of what is missing.
    for (const host of [earlier, undefined])
      assert.equal(summary(judged(host, policyOf('require: [identity]')).verdict), 'trusted, ');
    assert.equal(
      summary(judged({ ...well, listening: [22] }, policyOf('require: [identity]')).verdict),
      'trusted, none, ssh_reachable info',
    );
  });

  it('is not proven once, where its collector failed as a whole', () => {
    const proven = saying(undefined, { host: 'not read within 2000 ms' });
    const { verdict } = appraise(proven, required(), { name: 'one' }, [], at);
    assert.equal(summary(verdict), 'pending, none, facts_unavailable fail');
    assert.equal(verdict.reasons[0]?.actual, 'not read within 2000 ms');
  });

  it('is not proven where the collector of how it runs failed, which costs no boot', () => {
    const proven = saying(earlier, { running: 'not read within 5000 ms' });
    const { verdict } = appraise(proven, required(), { name: 'one' }, [], at);
    assert.equal(summary(verdict), 'pending, none, facts_unavailable fail, facts_unavailable fail');
    const own = verdict.reasons.filter(({ code }) => code === 'facts_unavailable');
    assert.deepEqual(
      own.map(({ aspect, actual }) => [aspect, actual]),
      own.map(() => ['host', 'not read within 5000 ms']),
    );
  });

  it('loses nothing without its inventory', () => {
    const proven = saying(well, { inventory: 'the program gave no answer' });
    assert.equal(summary(appraise(proven, required(), { name: 'one' }, [], at).verdict), affirmed);
  });

  it('row 72: shows what the node says of its kernel on one line, and takes no other text with more than that', () => {
    const { verdict } = judged(
      { ...well, kernel: '5.1\n\u001b[2J\u202e<b>' },
      required('host: {kernel: {minimum: "6.12"}}'),
    );
    assert.equal(verdict.reasons[0]?.actual, '5.1\\u000a\\u001b[2J\\u202e<b>');
    const ssh = { ports: [], sockets: [], daemons: [] };
    for (const change of [
      { ssh: { ...ssh, ports: [{ port: 2222, source: 'a\nb' }] } },
      { ssh: { ...ssh, daemons: [{ name: 'ss\u001bhd', sockets: null }] } },
      { ssh: { ...ssh, sockets: ['0.0.0.0:22\n'] } },
      { unread: { ssh: 'a\rb' } },
      { sysctls: { 'kernel.sysrq': '1\n' } },
      { runtimes: [{ name: 'docker', version: '1\u0007' }] },
    ])
      assert.throws(() => saying({ ...well, ...change }), { code: 'malformed' });
  });

  it('says what to do about each of its codes', () => {
    for (const code of [
      'ssh_reachable',
      'kernel_outdated',
      'kernel_tainted',
      'lockdown_off',
      'sysctl_policy',
    ] as const)
      assert.notEqual(nextStep({ code }), nextStep({ code: 'key_cycle' }), code);
  });
});

describe('a host that was found to break a rule', () => {
  const judgedAfter = (host: HostFacts | undefined, past: NodePast) => {
    const { verdict, next } = judged(host, required(), past);
    return { text: summary(verdict), past: structuredClone({ ...past, memory: next.memory }) };
  };

  it('stays as untrusted as it was, until what shows it is read again (row 63)', () => {
    let { text, past } = judgedAfter({ ...well, listening: [22] }, noPast);
    assert.equal(text, 'untrusted, contraindicated, ssh_reachable fail');
    const unread = { ...well, listening: undefined, unread: { listening: 'EACCES' } };
    for (const host of [unread, { ...well, unread: { ssh: 'x' } }, undefined, earlier]) {
      ({ text, past } = judgedAfter(host, past));
      assert.ok(text.startsWith('untrusted, contraindicated, ssh_reachable fail'), text);
      assert.ok(text.includes('facts_unavailable fail'), text);
    }
    ({ text, past } = judgedAfter(well, past));
    assert.equal(text, affirmed);
    assert.equal(judgedAfter(unread, past).text, 'pending, none, facts_unavailable fail');
  });

  it('is remembered by what it breaks alone', () => {
    let { text, past } = judgedAfter({ ...well, tainted: 2, listening: [22] }, noPast);
    assert.equal(text, 'untrusted, contraindicated, ssh_reachable fail, kernel_tainted fail');
    ({ text, past } = judgedAfter({ ...well, tainted: undefined }, past));
    assert.equal(text, 'untrusted, contraindicated, kernel_tainted fail, facts_unavailable fail');
    ({ text, past } = judgedAfter(well, past));
    assert.equal(text, affirmed);
  });

  it('is not believed what stands against it in a form that nobody wrote', () => {
    for (const memory of [null, 'x', [{}], [{ code: 'ssh_reachable' }], { code: 1 }])
      assert.equal(
        judgedAfter(earlier, { ...noPast, memory: { host: memory } }).text.split(', ')[0],
        'pending',
      );
  });

  it('is judged alike by an appraiser that remembers', () => {
    const rules = required(
      'host: {kernel: {minimum: "6.13"}, lockdown: integrity, sysctls: {kernel.sysrq: 0}}',
    );
    const remembering = createAppraiser(rules, []);
    const said = [well, earlier, { ...well, listening: [22] }, { ...well, tainted: 2 }, undefined, {}];
    const pasts = [noPast, { ...noPast, memory: judged({ ...well, listening: [22] }).next.memory }];
    for (const host of [...said, ...said.toReversed()])
      for (const past of pasts) {
        const node = { name: 'one', past };
        assert.deepEqual(remembering(saying(host), node, at), appraise(saying(host), rules, node, [], at));
      }
  });
});
