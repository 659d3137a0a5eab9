import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import type { FirewallPart } from '../../../../attest-server/wire/firewall.ts';
import { firewallPartOfFolder } from '../../../recorded/firewall-folder.ts';
import { failing, judged, recordedNode, referenceOf } from './made-firewall.ts';

describe('host endpoints of Calico', () => {
  let part: FirewallPart;
  let ofNft: FirewallPart;
  before(async () => {
    const recorded = await firewallPartOfFolder(recordedNode('calico-host'));
    // As an agent sends it: these chains are taken from iptables-save.
    part = { ...recorded, nft: recorded.nft?.filter((member) => !('rule' in member)) ?? null };
    ofNft = await firewallPartOfFolder(recordedNode('calico-host-nftables'));
  });

  function changed(before: string, after: string): FirewallPart {
    const text = part.iptables.ip ?? '';
    assert.ok(text.includes(before), before);
    return { ...part, iptables: { ...part.iptables, ip: text.replace(before, () => after) } };
  }
  const endOf = (name: string) =>
    (part.iptables.ip ?? '').split('\n').findLast((line) => line.startsWith(`-A ${name} `)) ?? '';

  for (const rule of [
    '-A cali-fh-eth0 -j ACCEPT',
    '-A cali-fh-eth0 -m mark --mark 0x0/0x1000000 -j RETURN',
    '-A cali-fh-eth0 -m mark --mark 0x4000/0x4000 -j RETURN',
    '-A cali-fh-eth0 -m mark ! --mark 0x1000000/0x1000000 -j RETURN',
    '-A cali-fh-eth0 -m mark --mark 0x1000000/0x1000000 -j ACCEPT',
    '-A cali-fh-eth0 -m connmark --mark 0x1000000/0x1000000 -j RETURN',
    '-A cali-fh-eth0 -s 10.0.0.1/32 -j RETURN',
    '-A cali-fh-eth0 -s 10.0.0.1/32 -m mark --mark 0x0/0x1 -j DROP',
    '-A cali-fh-eth0 -j MARK --set-xmark 0x1000000/0x1000000',
    '-A cali-fh-eth0 -p tcp -j MARK --set-xmark 0x0/0x1000000',
    '-A cali-fh-eth0 -j CT --notrack',
    '-A cali-fh-eth0 -g cali-pi-default.workers',
    '-A cali-fh-eth0 -j KUBE-FIREWALL',
  ])
    it(`are another where a rule is none of a policy: ${rule}`, () => {
      const first = '-A cali-fh-eth0 -m comment --comment "cali:DmFiPAmzcisqZcvo"';
      assert.ok(
        failing(judged(changed(first, `${rule}\n${first}`), [referenceOf(part)])).includes('fw_drift'),
      );
    });

  for (const rules of [
    ['-j MARK --set-xmark 0x0/0x3000000', '-m mark --mark 0x0/0x2000000 -j cali-pi-_other'],
    ['-m mark --mark 0x1000000/0x1000000 -m comment --comment "Return if policy accepted" -j RETURN'],
    ['-m mark --mark 0x0/0x2000000 -j NFLOG --nflog-prefix "DPI|default" --nflog-group 1'],
    ['-m mark --mark 0x0/0x2000000 -m comment --comment "End of tier default." -j DROP'],
    ['-j cali-pri-kns.default', '-j cali-gi-abcdefgh'],
  ])
    it(`are the same whatever policies they have: ${rules[0]}`, () => {
      const first = '-A cali-fh-eth0 -m comment --comment "cali:DmFiPAmzcisqZcvo"';
      const more = rules.map((rule) => `-A cali-fh-eth0 ${rule}\n`).join('');
      const verdict = judged(changed(first, `${more}${first}`), [referenceOf(part)]);
      assert.deepEqual([verdict.state, verdict.reasons], ['trusted', []]);
    });

  it('deny by default no more: which, and that they did, stands above the difference (row 61)', () => {
    const drop = endOf('cali-fh-eth0');
    const verdict = judged(changed(`${drop}\n`, ''), [referenceOf(part)]);
    assert.deepEqual(failing(verdict), ['fw_drift', 'fw_policy_open']);
    const detail = (code: string) => verdict.reasons.find((reason) => reason.code === code)?.detail ?? [];
    assert.deepEqual(detail('fw_drift').slice(0, 2), [
      'Calico host policies: default deny absent in ip cali-fh-eth0, failsafe ports tcp 22, udp 68',
      'in the baseline: Calico host policies: default deny present, failsafe ports tcp 22, udp 68',
    ]);
    assert.match(detail('fw_policy_open').join('\n'), /by eth0/);
  });

  it('open one more failsafe port: which is named (row 61)', () => {
    const last = '-A cali-failsafe-out';
    const added = '-A cali-failsafe-in -p tcp -m multiport --dports 8080 -j ACCEPT';
    const verdict = judged(changed(last, `${added}\n${last}`), [referenceOf(part)]);
    assert.deepEqual(failing(verdict), ['fw_drift', 'fw_policy_open']);
    const drift = verdict.reasons.find(({ code }) => code === 'fw_drift');
    assert.equal(
      drift?.detail?.[0],
      'Calico host policies: default deny present, failsafe ports tcp 22, udp 68, tcp 8080',
    );
    const open = verdict.reasons.find(({ code }) => code === 'fw_policy_open');
    assert.match(open?.detail?.join('\n') ?? '', /cali-failsafe-in: .*8080/);
  });

  const forbid = (text: string) => [`forbid: ["${text}"]`];
  for (const [opening, codes] of [
    ['input tcp 22 from anywhere', ['fw_policy_open']],
    ['input tcp 23 from anywhere', []],
    ['input udp 68 from anywhere but 10.0.0.0/8', []],
    ['input udp 68 from 10.1.0.0/16', ['fw_policy_open']],
  ] as const)
    it(`are walked through in nftables mode: ${opening} from IPv4 is ${codes.length === 0 ? 'closed' : 'open'}`, () => {
      // IPv6 has no rules at all here.
      const v4 = opening.replace('anywhere', '0.0.0.0/0');
      assert.deepEqual(failing(judged(ofNft, [referenceOf(ofNft)], forbid(v4))), codes);
    });

  it('are passed by where another interface is sent where pods are (row 61)', () => {
    const nft = ofNft.nft?.map((member) => {
      const isGoto =
        JSON.stringify(member).includes('"cali*"') && JSON.stringify(member).includes('wl-to-host');
      return isGoto ? JSON.parse(JSON.stringify(member).replace('"cali*"', '"eth*"')) : member;
    });
    const verdict = judged({ ...ofNft, nft: nft ?? null }, [referenceOf(ofNft)]);
    assert.deepEqual(failing(verdict), ['fw_drift', 'fw_policy_open']);
  });

  it('leave open what comes by an interface of which there is none', () => {
    const verdict = judged(part, [referenceOf(part)], forbid('input tcp 23 from 0.0.0.0/0'));
    assert.deepEqual(failing(verdict), ['fw_policy_open']);
  });

  for (const target of ['MARK --set-xmark 0x1000000/0x1000000', 'NFQUEUE --queue-num 0'])
    it(`are open to all where some rule of the node sets the mark by which policies accept: ${target} (row 61)`, () => {
      const mangle = `*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j ${target}\nCOMMIT\n`;
      const ip = `${part.iptables.ip ?? ''}${mangle}`;
      const marked = { ...part, iptables: { ...part.iptables, ip } };
      assert.deepEqual(failing(judged(marked, [referenceOf(part)])), ['fw_drift', 'fw_policy_open']);
    });

  it('are open to all where a program may set that mark, in nftables mode (row 61)', () => {
    const hook = { type: 'filter', hook: 'prerouting', prio: -150, policy: 'accept' };
    const at = { family: 'ip', table: 'mine' };
    const nft = [
      ...(ofNft.nft ?? []),
      { table: { family: 'ip', name: 'mine', handle: 1 } },
      { chain: { family: 'ip', table: 'mine', name: 'in', handle: 1, ...hook } },
      { rule: { ...at, chain: 'in', handle: 2, expr: [{ queue: { num: 0 } }] } },
    ];
    assert.deepEqual(failing(judged({ ...ofNft, nft }, [referenceOf(ofNft)])), [
      'fw_drift',
      'fw_policy_open',
    ]);
  });
});
