import assert from 'node:assert/strict';
import { after, before, describe, it } from 'mocha';
import { foldedReasons } from '../../../../attest-server/formats/folded-reasons.ts';
import { nextStep } from '../../../../attest-server/policy/advice.ts';
import { firewallPart } from '../../../../attest-server/wire/firewall.ts';
import { type Inside, openInside } from './inside.ts';
import { failing, judged, referenceOf } from './made-firewall.ts';

const rules = `
add table inet filter
add chain inet filter input { type filter hook input priority 0; policy drop; }
add chain inet filter sub
add set inet filter trusted { type ipv4_addr; }
add element inet filter trusted { 10.0.0.1 }
add rule inet filter input tcp dport 22 accept
add rule inet filter input ip saddr 10.0.0.1 tcp dport 4444 accept`;
const load = `nft -f - <<'RULES'\n${rules}\nRULES
for tables in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy
do
  $tables -P INPUT DROP
  $tables -A INPUT -p tcp --dport 22 -j ACCEPT
  $tables -N sub
  $tables -A sub -p tcp --dport 23 -j ACCEPT
done`;

/** Commands of the first reason that has some, as `why` prints them. */
function undoneBy(reasons: ReturnType<typeof judged>['reasons']): readonly string[] {
  const drift = reasons.find(({ code }) => code === 'fw_drift');
  assert.ok(drift !== undefined);
  return nextStep(drift, { node: 'node-1' })
    .split('\n')
    .filter((line) => /^ {2}(?:nft|ip6?tables)/.test(line))
    .map((line) => line.trim());
}

describe('a change of the firewall', function () {
  this.timeout(60_000);
  let inside: Inside;
  before(async () => {
    inside = await openInside();
    await inside.ask({ sh: load });
  });
  after(() => inside?.[Symbol.asyncDispose]());
  const shown = async () => firewallPart.parse(await inside.ask({ show: true }));

  for (const change of [
    'nft add rule inet filter input tcp dport 4444 accept',
    'nft insert rule inet filter input tcp dport 4444 counter accept',
    `nft 'add rule inet filter input iifname "eth0" accept comment "it'"'"'s # handle 3; $(reboot)"'`,
    'nft add rule inet filter input tcp dport { 9000, 80, 100-200 } ct state related,new accept',
    'nft add rule inet filter input ip saddr { 10.0.0.9, 9.0.0.0/8 } meta mark 0x10 accept',
    'nft add rule inet filter input limit rate 5/second log prefix '.concat(`'"x: "'`, ' level info'),
    'nft add rule inet filter input jump sub',
    "nft 'chain inet filter input { policy accept; }'",
    "nft add element inet filter trusted '{ 10.0.0.9 }'",
    "nft delete element inet filter trusted '{ 10.0.0.1 }'",
    'iptables-nft -I INPUT -p tcp --dport 4444 -j ACCEPT',
    'iptables-nft -A INPUT -s 1.2.3.4/32 -m comment --comment plain -j ACCEPT',
    `iptables-nft -A INPUT -m comment --comment 'a "b" c; $(reboot)' -j ACCEPT`,
    'iptables-nft -P INPUT ACCEPT',
    'nft add chain inet filter more; nft add rule inet filter more accept; nft add rule inet filter input jump more',
    "nft 'add chain inet filter first { type filter hook input priority -10; policy accept; }'",
    'ip6tables-nft -I INPUT -s 2001:db8::/32 -j ACCEPT',
    'ip6tables-nft -P INPUT ACCEPT',
    'iptables-legacy -I INPUT -p tcp --dport 4444 -j ACCEPT',
    'iptables-legacy -A sub -p udp --dport 53 -j ACCEPT',
    `iptables-legacy -A INPUT -m comment --comment 'it'"'"'s "b" \\c; $(reboot)' -j ACCEPT`,
    `iptables-legacy -A INPUT -m string --string "x'y" --algo bm -j LOG --log-prefix "it's: "`,
    'iptables-legacy -N more; iptables-legacy -A more -j ACCEPT; iptables-legacy -A INPUT -j more',
    'iptables-legacy -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080',
    'iptables-legacy -P INPUT ACCEPT',
    'ip6tables-legacy -I INPUT -s 2001:db8::/32 -m comment --comment plain -j ACCEPT',
    'ip6tables-legacy -N more; ip6tables-legacy -A INPUT -j more',
    'ip6tables-legacy -P INPUT ACCEPT',
  ])
    it(`is taken back by the commands that are printed: ${change} (row 405)`, async () => {
      const reference = referenceOf(await shown());
      await inside.ask({ sh: change });
      const { reasons } = judged(await shown(), [reference]);
      const commands = undoneBy(reasons);
      const causes = foldedReasons(reasons.filter(({ severity }) => severity === 'fail'));
      assert.equal(causes.length, 1, 'one change has several blocks');
      assert.ok(commands.length > 0, JSON.stringify(reasons, null, 1));
      for (const command of commands) await inside.ask({ sh: `set -o pipefail; ${command}` });
      assert.deepEqual(failing(judged(await shown(), [reference])), []);
    });

  for (const add of [
    'nft add rule inet filter input tcp dport 5555 accept',
    'iptables-legacy -A INPUT -p tcp --dport 5555 -j ACCEPT',
  ])
    it(`removes nothing where several rules have the text: ${add} (row 405)`, async () => {
      const reference = referenceOf(await shown());
      await inside.ask({ sh: add });
      const [command = ''] = undoneBy(judged(await shown(), [reference]).reasons);
      await inside.ask({ sh: add });
      const before = await shown();
      await assert.rejects(inside.ask({ sh: `set -o pipefail; ${command}` }));
      assert.deepEqual(failing(judged(await shown(), [referenceOf(before)])), []);
    });
});
