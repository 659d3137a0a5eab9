import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { parseForm } from '../../../../attest-server/policy/firewall/owners/form.ts';
import { ownerFaults } from '../../../../attest-server/policy/firewall/owners/policy-owners.ts';
import { shippedOwners, shippedSources } from '../../../../attest-server/policy/firewall/owners/shipped.ts';
import { cpuMs } from '../../../bench/cpu-time.ts';
import { failing, judged, partWith, referenceOf } from './made-firewall.ts';

const fits = (form: string, text: string, sendsAway: ((address: string) => boolean) | null = () => true) => {
  const parsed = parseForm(form);
  assert(typeof parsed !== 'string', String(parsed));
  return parsed.fits(text, sendsAway);
};

describe('a form of rule', () => {
  for (const [form, text, isSo] of [
    ['-s <address> -j DROP', '-s 192.0.2.7/32 -j DROP', true],
    ['-s <address> -j DROP', '-s 2001:db8::7/128 -j DROP', true],
    ['-s <address> -j DROP', '-s 192.0.2.0/24 -j DROP', false],
    ['-s <address> -j DROP', '-s 192.0.2.7/32 -j DROP -j ACCEPT', false],
    ['-s <address> -j DROP', 'x -s 192.0.2.7/32 -j DROP', false],
    ['-s <net> -j ACCEPT', '-s 0.0.0.0/0 -j ACCEPT', false],
    ['-s <private> -j ACCEPT', '-s 10.88.0.0/16 -j ACCEPT', true],
    ['-s <private> -j ACCEPT', '-s 8.8.0.0/16 -j ACCEPT', false],
    ['-s <private> -j ACCEPT', '-s 10.0.0.0/1 -j ACCEPT', false],
    ['-i br-<hex 12> -o br-<same> -j ACCEPT', '-i br-0123456789ab -o br-0123456789ab -j ACCEPT', true],
    ['-i br-<hex 12> -o br-<same> -j ACCEPT', '-i br-0123456789ab -o br-0123456789ac -j ACCEPT', false],
    ['-i br-<hex 12> -o br-<same> -j ACCEPT', '-i br-0 -o br-0 -j ACCEPT', false],
    ['<matches> -j RETURN', '-j RETURN', true],
    ['<matches> -j RETURN', '-p tcp -m comment --comment "a -j b" -j RETURN', true],
    ['<matches> -j RETURN', '-p tcp -j ACCEPT -j RETURN', false],
    ['<matches> -j RETURN', '-g SITE -j RETURN', false],
    ['--dport <nodeport> -j ACCEPT', '--dport 32767 -j ACCEPT', true],
    ['--dport <nodeport> -j ACCEPT', '--dport 32768 -j ACCEPT', false],
    ['--dport <nodeport> -j ACCEPT', '--dport 22 -j ACCEPT', false],
    ['tcp dport <ports> drop', 'tcp dport { 22, 80-81 } drop', true],
    ['a.b', 'axb', false],
  ] as const)
    it(`${isSo ? 'fits' : 'does not fit'} ${text}: ${form}`, () => assert.equal(fits(form, text), isSo));

  for (const [destination, isSo] of [
    ['10.88.0.2:80', true],
    ['10.88.0.2:53-54/8053', true],
    ['[fd00::2]:80', true],
    ['fd00::2', true],
    ['10.77.0.1:80', false],
    ['127.0.0.1:80', false],
    ['0.0.0.0:80', false],
    ['[::1]:80', false],
    ['10.88.0.2-10.88.0.9:80', false],
    [':80', false],
  ] as const)
    it(`sends ${destination} ${isSo ? 'elsewhere' : 'nowhere'}`, () => {
      const form = '-j DNAT --to-destination <elsewhere>';
      const text = `-j DNAT --to-destination ${destination}`;
      assert.equal(
        fits(form, text, (address) => address !== '10.77.0.1'),
        isSo,
      );
      assert.equal(fits(form, text, null), false);
    });

  for (const [destination, isSo] of [
    ['10.88.0.2:80', true],
    ['172.31.0.2:80', true],
    ['172.32.0.2:80', false],
    ['[fd00::2]:80', true],
    ['fd00::2', true],
    ['198.51.100.9:80', false],
    ['[2001:db8::9]:80', false],
    ['10.77.0.1:80', false],
    ['fd00::2-2001:db8::9', false],
  ] as const)
    it(`sends ${destination} ${isSo ? 'to a container' : 'to none'}`, () => {
      const form = '-j DNAT --to-destination <inner>';
      const text = `-j DNAT --to-destination ${destination}`;
      const sendsAway = (address: string) => address !== '10.77.0.1';
      assert.equal(fits(form, text, sendsAway), isSo);
      assert.equal(fits(form, text, null), false);
    });

  it('is read in a bounded time whatever stands in the rule', () => {
    const rule = `${'-m comment --comment "a" '.repeat(100_000)}-j RETUR`;
    const near = `${'-m comment --comment "a" '.repeat(160)}-j RETUR`;
    const spent = cpuMs(() => {
      for (const { rules } of shippedOwners)
        for (const form of rules) {
          assert.equal(form.fits(rule, null), false);
          form.fits(near, null);
        }
    });
    assert(spent < 2_000, `${spent}`);
  });
});

describe('an owner in a policy', () => {
  const entry = (more: object) => ({ owners: [{ name: 'mine', source: 'me', ...more }] });
  const blocks = { chains: ['ip,ip6 filter BLOCK-<word>'], rules: ['-s <address> -j DROP'] };

  it('is taken where it names its chains and forms', () => {
    assert.deepEqual(ownerFaults(entry(blocks)), []);
    assert.deepEqual(ownerFaults({ owners: ['shipped', 'fail2ban', 'docker'] }), []);
  });

  for (const [what, given] of [
    ['a chain that the kernel hooks', { ...blocks, chains: ['ip filter INPUT'] }],
    ['a form that takes one', { ...blocks, chains: ['ip filter <word>PUT'] }],
    ['one of nft', { ...blocks, chains: ['inet site input'] }],
    ['every name', { ...blocks, chains: ['ip filter <word>'] }],
    ['every name but for a letter', { ...blocks, chains: ['ip filter F<word>'] }],
    ['every set', { chains: [], sets: ['ip filter <word>'] }],
    ['every table', { ...blocks, chains: ['ip <word> BLOCK'] }],
    ['no family', { ...blocks, chains: ['filter BLOCK'] }],
    ['nothing at all', { rules: ['-j DROP'] }],
    ['what lets all in', { ...blocks, rules: ['-j ACCEPT'] }],
    ['what lets anything in', { ...blocks, rules: ['<matches> -j ACCEPT'] }],
    ['what lets all in by nft', { ...blocks, rules: ['accept'] }],
    ['any target', { ...blocks, rules: ['<matches> -j <word>'] }],
    ['anything', { ...blocks, rules: ['<matches>'] }],
    ['a redirect', { ...blocks, rules: ['-p tcp -j REDIRECT --to-ports <port>'] }],
    ['a redirect by nft', { ...blocks, rules: ['tcp dport <port> redirect to :<port>'] }],
    ['a DNAT to anywhere', { ...blocks, rules: ['-p tcp -j DNAT --to-destination <word>'] }],
    ['a place that there is not', { ...blocks, rules: ['-s <anything> -j DROP'] }],
    ['a chain before the rule', { ...blocks, rules: ['-A BLOCK -s <address> -j DROP'] }],
  ] as const)
    it(`is refused where it takes ${what} (row 338)`, () => {
      assert.notDeepEqual(ownerFaults(entry(given)), []);
    });

  it('is refused by a name that nothing shipped has', () => {
    assert.equal(ownerFaults({ owners: ['nobody'] }).length, 1);
  });

  it('is left out in its forms, and in no other', () => {
    const rules = (lines: readonly string[]) =>
      partWith({
        iptables: {
          ip: `*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:BLOCK-a - [0:0]\n-A INPUT -j BLOCK-a\n${lines.join('\n')}\nCOMMIT\n`,
          ip6: null,
        },
      });
    const reference = referenceOf(rules(['-A BLOCK-a -s 192.0.2.1/32 -j DROP']));
    const policy = [
      `owners: [shipped, {name: mine, source: me, chains: ["ip filter BLOCK-<word>"], rules: ["-s <address> -j DROP"]}]`,
    ];
    const codes = (lines: readonly string[]) => failing(judged(rules(lines), [reference], policy));
    assert.deepEqual(codes(['-A BLOCK-a -s 192.0.2.2/32 -j DROP']), []);
    assert.deepEqual(codes([]), []);
    assert.deepEqual(codes(['-A BLOCK-a -s 192.0.2.2/32 -j ACCEPT']), ['fw_drift', 'fw_policy_open']);
    assert.deepEqual(codes(['-A BLOCK-a -s 192.0.2.2/32 -j DROP', '-A INPUT -j ACCEPT']), [
      'fw_drift',
      'fw_policy_open',
    ]);
    assert.deepEqual(failing(judged(rules([]), [reference])), ['fw_drift']);
  });
});

describe('what shipped owners write', () => {
  it('has a source each', () => {
    for (const [name, sources] of shippedSources)
      assert(
        sources.every((source) => source.length > 10),
        name,
      );
  });

  const f2b = (bans: readonly string[]) => ({
    iptables: {
      ip: `*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:f2b-sshd - [0:0]\n${bans.map((ban) => `-A f2b-sshd -s ${ban}/32 -j REJECT --reject-with icmp-port-unreachable\n`).join('')}-A f2b-sshd -j RETURN\n-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd\nCOMMIT\n`,
      ip6: null,
    },
  });
  const netavark = (port: number) => ({
    iptables: {
      ip: `*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:NETAVARK-DN-1D8721804F16F - [0:0]\n-A NETAVARK-DN-1D8721804F16F -p tcp -m tcp --dport ${port} -j DNAT --to-destination 10.88.0.2:80\nCOMMIT\n`,
      ip6: null,
    },
  });

  it('is left out of what agents of 0.3.0 send, but for what sends packets to an address (row 336)', () => {
    const banned = referenceOf(partWith(f2b(['192.0.2.1'])));
    assert.deepEqual(failing(judged(partWith(f2b(['192.0.2.9', '192.0.2.1'])), [banned])), []);
    // They do not say whose the address is.
    const sends = referenceOf(partWith(netavark(8080)));
    assert.deepEqual(failing(judged(partWith(netavark(8081)), [sends])), ['fw_drift']);
    assert.deepEqual(failing(judged(partWith(netavark(8080)), [sends])), []);
    assert.deepEqual(failing(judged(partWith({ ...netavark(8081), local: [] }), [sends])), []);
    assert.deepEqual(failing(judged(partWith({ ...netavark(8081), local: ['10.88.0.2'] }), [sends])), [
      'fw_drift',
    ]);
  });

  it('is compared where a policy has no owners', () => {
    const banned = referenceOf(partWith(f2b(['192.0.2.1'])));
    const verdict = judged(partWith(f2b(['192.0.2.9'])), [banned], ['owners: []']);
    assert.deepEqual(failing(verdict), ['fw_drift']);
  });

  it('is a set of a million elements told as what it is: too many', () => {
    const set = {
      family: 'inet',
      table: 'f2b-table',
      name: 'addr-set-sshd',
      type: 'ipv4_addr',
      elem: Array.from({ length: 1_000_000 }, (_, i) => i),
    };
    const part = partWith({ nft: [{ table: { family: 'inet', name: 'f2b-table' } }, { set }] });
    const none = referenceOf(partWith({}));
    assert.deepEqual(failing(judged(part, [none])), ['fw_unreadable']);
  });
});
