import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { bootLogPath } from '../../agent/collectors/boot-log.ts';
import { nodeView, type ReasonView } from '../../attest-server/api/node-api.ts';
import { tamper } from '../../swtpm-fixtures/tamper.ts';
import { tamperedNode } from '../picture/why.ts';
import { commandsIn, fallNight, goodBoot, investigate, type Night, node, type } from './night.ts';

/** Each begins with a node that is trusted, and ends with one. */
describe('incidents: a node boots something else', function () {
  this.timeout(120_000);
  let night: Night;
  before(async () => {
    night = await fallNight();
  });
  after(() => night?.[Symbol.asyncDispose]());

  for (const [what, code, cause] of [
    ['kernel', 'kernel_unknown', /kernel has changed: event \d+ in PCR 9 measured .* reference good-boot/],
    ['cmdline', 'cmdline_policy', 'init=/bin/sh'],
    ['secureboot', 'secureboot_off', 'Secure Boot'],
  ] as const)
    it(`says of another ${what} what it is, and how to see all of it`, async () => {
      await night.reboot(tamper(goodBoot, what));
      await night.reaches('untrusted', code);
      const shown = await investigate(night, {
        steps: [
          ['get', 'nodes'],
          ['why', node],
        ],
        cause: [code, cause, `${node} is untrusted`],
        next: [`assay boot diff ${node}`],
      });
      const diff = commandsIn(shown).find((line) => line.startsWith('assay boot diff')) ?? '';
      const { code: exit, stdout, stderr } = await type(night, diff);
      assert.equal(exit, 10, stderr);
      // One kernel has one digest: both show it in the same bank.
      const digests = shown.match(/(?<= )sha\d+:[0-9a-f]{12}/g) ?? assert.fail(shown);
      for (const digest of digests) assert.ok(stdout.includes(digest), `no ${digest} in:\n${stdout}`);
      if (what === 'kernel') {
        const { reasons } = nodeView.parse(JSON.parse((await night.assay('why', node, '-o', 'json')).stdout));
        assert.deepEqual(wordsOf(reasons), wordsOf(tamperedNode.reasons), 'the picture in README.md is old');
      }
      await night.reboot(goodBoot);
      await night.reaches('trusted');
    });

  it('gathers an update that nobody announced, and leads from there to a node that is trusted', async () => {
    await night.reboot(tamper(goodBoot, 'kernel'));
    await night.reaches('untrusted', 'kernel_unknown');
    // A busy machine is late with its next proof, and none is captured without one.
    const typed = (begins: string, ...more: readonly string[]) =>
      night.world.until(async () => {
        const { stdout } = await night.assay('reference', 'candidates');
        const line = commandsIn(stdout).find((each) => each.startsWith(begins));
        if (line === undefined || !/^1 of 1 node boots 1 thing that no reference has$/m.test(stdout))
          return null;
        const { code } = await type(night, [line, ...more].join(' '));
        return code === 0 ? line : null;
      }, 30_000);
    await typed('assay reference capture');
    await typed('assay reference approve', '--yes');
    await night.reaches('trusted');
    assert.match((await night.assay('reference', 'candidates')).stdout, /^0 of 1 node /);
    await night.reboot(goodBoot);
    await night.reaches('trusted');
  });

  it('says in one block that what only root can read was not read, and how it is', async () => {
    await using _ = await night.machine.withoutInspect();
    const shown = await night.world.until(async () => {
      const { stdout } = await night.assay('why', node);
      return stdout.includes('facts_unavailable') ? stdout : null;
    }, 15_000);
    assert.equal(shown.match(/^ {4}component /gm)?.length, 1, shown);
    assert.equal(shown.match(/^ {4}so +facts_unavailable: /gm)?.length, 2, shown);
    await investigate(night, {
      steps: [['why', node]],
      cause: ['facts_unavailable', 'What only root can read of the disks is missing'],
      next: ['assay-agent inspect', 'systemctl enable --now assay-inspect.timer'],
    });
  });

  it('says that a boot log is gone, and where it should be', async () => {
    await night.killAgent();
    await rm(join(night.machine.sysroot, bootLogPath));
    await night.startAgent();
    await night.reaches('untrusted', 'log_incomplete');
    await investigate(night, {
      steps: [['why', node]],
      cause: ['log_incomplete', /boot log/i, 'binary_bios_measurements'],
      next: [/^(wc|sudo wc) /],
    });
    await night.reboot(goodBoot);
    await night.reaches('trusted');
  });
});

/** What is said of each reason, without what differs from boot to boot: names, paths, digests, numbers. */
function wordsOf(reasons: readonly ReasonView[]): readonly string[] {
  return reasons.map(({ code, text, next }) =>
    `${code} ${text} ${next}`
      .replace(/"[^"]*"|--name \S+|reference approve \S+|reference \S+|node-\d(?:\.json)?/g, '')
      .replace(/\b[0-9a-f]{12}\b|\d+/g, ''),
  );
}
