import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { withMadeFiles } from '../../../../swtpm-fixtures/loader-files.ts';
import { type SiblingChange, siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { recordedLog, shimGrubBoots } from '../../../swtpm-fixtures/recorded-log.ts';
import { eventsWhere, eventWhere, insertBefore, without } from '../../../vectors/log-surgery.ts';
import { capturedFrom, madeProof, policyOf, verdictOn } from '../made-proof.ts';

const at = Date.parse('2026-11-25T12:00:00Z');

function captured(log: Buffer, node = 'worker-1'): Reference {
  return capturedFrom(madeProof({ log }), { node });
}

function judged(log: Buffer, references: readonly Reference[], scope = '{}', more: readonly string[] = []) {
  const policy = policyOf('require: [identity, boot]', `boot: {scope: ${scope}}`, ...more);
  const verdict = verdictOn(madeProof({ log }), policy, { name: 'worker-2' }, references, at);
  return [verdict.state, ...verdict.reasons.map(({ code, severity }) => `${code} ${severity}`)];
}

/** Every identifier of the machine becomes another one of its kind. */
const otherIdentifiers = (text: string) =>
  text
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, (uuid) =>
      uuid.replace(/[0-9a-f]/g, (digit) => (15 - Number.parseInt(digit, 16)).toString(16)),
    )
    .replace(/\b[0-9A-F]{4}-[0-9A-F]{4}\b/g, 'AF0C-91DE')
    .replace(/\b[0-9a-f]{32}\b/g, 'c'.repeat(32));

const sibling: SiblingChange = { text: otherIdentifiers, firmwareSettings: true, configuration: true };

describe('a sibling of the one node that was captured', () => {
  for (const name of shimGrubBoots) {
    const log = withMadeFiles(recordedLog(name));
    const reference = captured(log);

    it(`row 113: of ${name} is trusted with other UUIDs, PCR 1, boot order and GRUB configuration`, () => {
      const other = siblingLog(log, sibling);
      assert.notDeepEqual(other, log);
      assert.deepEqual(judged(other, [reference]), ['trusted']);
    });

    it(`of ${name} with an initrd of its own is not, unless the policy leaves it open`, () => {
      const other = siblingLog(log, { ...sibling, initrd: true });
      assert.deepEqual(judged(other, [reference]), ['untrusted', 'initrd_unknown fail']);
      assert.deepEqual(judged(other, [reference], '{initrd: unpinned}'), ['trusted', 'initrd_unknown warn']);
    });

    it(`of ${name} with an initrd of its own is trusted by a reference of its own, where the policy goes by node`, () => {
      const other = siblingLog(log, { ...sibling, initrd: true });
      const scope = '{initrd: node}';
      assert.deepEqual(judged(other, [reference], scope), ['untrusted', 'initrd_unknown fail']);
      const own = { ...captured(other, 'worker-2'), name: 'own' };
      assert.deepEqual(judged(other, [reference, own], scope), ['trusted']);
      assert.deepEqual(judged(log, [reference, own], scope), ['untrusted', 'initrd_unknown fail']);
    });

    it(`of ${name} is compared to the last character where the policy says so`, () => {
      const other = siblingLog(log, { text: otherIdentifiers });
      const differs = /[0-9a-f]{8}-[0-9a-f]{4}-.*/.test(
        reference.components
          .map(({ description }) => description)
          .filter((text) => /linux|kernel_cmdline/.test(text))
          .join(),
      );
      const state = judged(other, [reference], '{cmdline: exact}');
      assert.deepEqual(state, differs ? ['untrusted', 'cmdline_policy fail'] : ['trusted']);
    });
  }

  it('is trusted where the kernel measures the UUIDs once more', () => {
    const rooted = (uuid: string) =>
      siblingLog(recordedLog('debian13-shim-grub'), {
        text: (text) => text.replace('root=/dev/vda', `root=UUID=${uuid}`),
      });
    const one = rooted('d4b018ac-5304-4aac-b870-4060a39e2af1');
    const other = rooted('05ee75fe-dab5-40f4-8d00-e125ab9a1260');
    assert.deepEqual(judged(other, [captured(one)]), ['trusted']);
    assert.deepEqual(judged(rooted('nothing-that-is-one'), [captured(one)]), [
      'untrusted',
      'cmdline_policy fail',
    ]);
  });
});

describe('a machine whose last boot ended otherwise', () => {
  const log = withMadeFiles(recordedLog('fedora41-locality-3'));
  /** As GRUB of Fedora does where nobody logged in since: it shows its menu. */
  const shown = siblingLog(
    without(
      log,
      eventsWhere(log, ({ describes }) => describes === 'grub_cmd: set boot_indeterminate=0').map(
        ({ index }) => index,
      ),
    ),
    {
      text: (text) =>
        text
          .replace('[ 1 = 1 -o 0 = 1 ]', '[ 0 = 1 -o 0 = 1 ]')
          .replace('[ 1 = 1 ]', '[ 0 = 1 ]')
          .replace('menu_hide_ok=1', 'menu_hide_ok=0'),
      configuration: true,
    },
  );

  it('is trusted, since how long a menu is shown starts nothing', () => {
    assert.notDeepEqual(shown, log);
    assert.deepEqual(judged(shown, [captured(log)]), ['trusted']);
    assert.deepEqual(judged(log, [captured(shown)]), ['trusted']);
  });

  it('is not where something else is set', () => {
    const other = siblingLog(shown, { text: (text) => text.replace('set pager=1', 'set root=hd0,gpt1') });
    assert.deepEqual(judged(other, [captured(log)]), ['untrusted', 'bootloader_unknown fail']);
  });
});

describe('a sibling whose firmware measures what is of one machine or one boot into PCR 6', () => {
  const log = recordedLog('debian13-shim-grub');
  const separator = eventWhere(log, ({ pcr, type }) => pcr === 6 && type === 'EV_SEPARATOR').index;
  const said = (type: number, text: string) =>
    insertBefore(log, separator, { pcr: 6, type, data: Buffer.from(text, 'latin1') });
  const [compactHash, action] = [0x0c, 0x80000007];
  const uuid = (text: string) => said(compactHash, `UUID: ${text}`);
  const one = uuid('A995622B-C5C6-4FF5-ABAB-EF032C52B7A3');

  it('is trusted with another UUID, as each machine of Azure has one', () => {
    assert.deepEqual(judged(uuid('0CB242B9-610A-4D83-889F-1DE953E7334A'), [captured(one)]), ['trusted']);
    assert.deepEqual(judged(one, [captured(log)]), ['untrusted', 'firmware_unknown fail']);
    assert.deepEqual(judged(log, [captured(one)]), ['untrusted', 'firmware_unknown fail']);
  });

  it('is not with anything beside the UUID, or in its place', () => {
    const whole = '0CB242B9-610A-4D83-889F-1DE953E7334A';
    for (const text of [`${whole}\0x`, `${whole} x`, whole.slice(1), whole.replaceAll('-', '')])
      assert.deepEqual(judged(uuid(text), [captured(one)]), ['untrusted', 'firmware_unknown fail'], text);
  });

  it('is trusted whatever woke it, with the number as a byte too', () => {
    for (const woken of ['Wake Event 6', 'Wake Event \x06'])
      assert.deepEqual(judged(said(action, woken), [captured(log)]), ['trusted'], woken);
    for (const other of ['Wake Event \x90', 'Wake Event \x06\x06', '\x06'])
      assert.deepEqual(judged(said(action, other), [captured(log)]), ['untrusted', 'firmware_unknown fail']);
  });
});
