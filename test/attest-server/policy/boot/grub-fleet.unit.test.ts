import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { versionInName } from '../../../../attest-server/policy/boot/kernel-version.ts';
import { siblingFile, withMadeFiles } from '../../../../swtpm-fixtures/loader-files.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { updatedLog } from '../../../../swtpm-fixtures/updated-boot.ts';
import { recordedLog, shimGrubBoots } from '../../../swtpm-fixtures/recorded-log.ts';
import { eventsWhere, insertBefore } from '../../../vectors/log-surgery.ts';
import { computedReference } from '../../cli/offline/compute/computed-reference.ts';
import { namedPe } from '../../cli/offline/compute/named-pe.ts';
import { capturedFrom, madeProof, policyOf, verdictOn } from '../made-proof.ts';

const at = Date.parse('2026-11-27T12:00:00Z');
const fleet = [...shimGrubBoots, 'fedora41-locality-3', 'coreos36-shim-grub'];

function judged(
  log: Buffer,
  references: readonly Reference[],
  boot = '{}',
  files?: readonly Buffer[],
): string {
  const policy = policyOf('require: [identity, boot]', `boot: ${boot}`);
  const proof = madeProof({ log, ...(files && { files }) });
  const { state, reasons } = verdictOn(proof, policy, { name: 'worker-2' }, references, at);
  return [state, ...reasons.map(({ code }) => code)].join(' ');
}

const captured = (log: Buffer, name = 'first') => ({ ...capturedFrom(madeProof({ log })), name });

/** The same machine where the firmware counts its disks from another number, or found one more before them. */
const withDisks = (log: Buffer, more: number) =>
  siblingLog(log, {
    text: (text) =>
      text
        .replace(/\bhd(\d)/g, (_, number: string) => `hd${Number(number) + more}`)
        .replace(/\bahci(\d)/g, (_, number: string) => `ahci${Number(number) + more + 1}`),
    configuration: true,
  });

/** The version that the recorded kernel has in its name. */
function versionIn(log: Buffer): string | undefined {
  const [line = ''] = eventsWhere(log, ({ pcr, stage }) => pcr === 8 && stage === 'cmdline').map(
    ({ describes }) => describes.split(' ').find((word) => word.includes('/vmlinuz')),
  );
  return versionInName(line) ?? undefined;
}

describe('a fleet that boots with GRUB', () => {
  const next = '7.1.2-44.made.x86_64';
  const kernel = namedPe({ '.text': Buffer.alloc(0x200, 0x41) });
  const other = namedPe({ '.text': Buffer.alloc(0x200, 0x42) });
  const initrd = Buffer.from('the initrd of the next version');

  /** What `assay reference compute` makes of these files, in force. */
  async function computed(of: Buffer, files: Readonly<Record<string, Buffer>>): Promise<Reference> {
    const checked = eventsWhere(of, ({ pcr, stage }) => pcr === 4 && stage === 'kernel').length > 0;
    const given = Object.entries(files).map(
      ([path, bytes]) => [/vmlinuz/.test(path) ? '--kernel' : '--initrd', path, bytes] as const,
    );
    return computedReference(given, ...(checked ? [] : ['--no-secure-boot']));
  }

  for (const name of fleet) {
    const log = withMadeFiles(recordedLog(name));
    const from = versionIn(log);
    const updated = (files = { kernel, initrd }, to = next) =>
      updatedLog(log, { ...files, ...(from !== undefined && { from, to }) });

    it(`of ${name} is trusted by one capture, on whichever disk a machine is`, () => {
      for (const more of [1, 3]) {
        const machine = withDisks(log, more);
        assert.equal(judged(machine, [captured(log)]), 'trusted');
        assert.equal(judged(log, [captured(machine)]), 'trusted');
      }
    });

    it(`of ${name} is trusted with the next kernel that was computed beforehand, on every machine`, async () => {
      const of = await computed(log, { [`vmlinuz-${next}`]: kernel, [`initrd.img-${next}`]: initrd });
      assert.notEqual(judged(updated(), [captured(log)]), 'trusted');
      for (const more of [0, 1, 2]) {
        const machine = withDisks(updated(), more);
        assert.equal(judged(machine, [captured(log), of]), 'trusted');
        assert.equal(judged(withDisks(log, more), [captured(log), of]), 'trusted');
      }
    });

    if (from === undefined) continue;

    it(`of ${name} is trusted by files that have their version in their folder`, async () => {
      const folder = `lib/modules/${next}`;
      const of = await computed(log, { [`${folder}/vmlinuz`]: kernel, [`${folder}/initrd`]: initrd });
      assert.equal(judged(updated(), [captured(log), of]), 'trusted');
    });

    it(`of ${name} is not trusted where the known names hold other files (row 143)`, async () => {
      const of = await computed(log, { [`vmlinuz-${next}`]: kernel, [`initrd.img-${next}`]: initrd });
      const evil = updated({ kernel: other, initrd });
      assert.match(judged(evil, [captured(log), of]), /^untrusted .*kernel_unknown/);
      const evilInitrd = updated({ kernel, initrd: Buffer.from('evil') });
      assert.match(judged(evilInitrd, [captured(log), of]), /^untrusted .*initrd_unknown/);
      const evilName = updated({ kernel: other, initrd }, `${next}-evil`);
      assert.match(judged(evilName, [captured(log), of]), /^untrusted .*kernel_unknown/);
    });

    it(`of ${name} is not trusted where a known kernel boots under the name of another version (row 143)`, async () => {
      const of = await computed(log, { [`vmlinuz-${next}`]: kernel, [`initrd.img-${next}`]: initrd });
      const renamed = updated({ kernel, initrd }, '7.1.3-45.made.x86_64');
      assert.equal(judged(renamed, [captured(log), of]), 'untrusted bootloader_unknown');
    });

    it(`of ${name} is not trusted where a command or an argument changes with the version (row 143)`, async () => {
      const of = await computed(log, { [`vmlinuz-${next}`]: kernel, [`initrd.img-${next}`]: initrd });
      const also = (change: (text: string) => string) => siblingLog(updated(), { text: change });
      const word = also((text) => text.replace(/ (ro|console=tty0) /, ` $1 x=${next} `));
      assert.match(judged(word, [captured(log), of]), /^untrusted .*cmdline_policy/);
      const more = also((text) => text.replace(/^(grub_cmd:? initrd\S* [^\s\0]*)/, `$1 /x-${next}`));
      assert.equal(judged(more, [captured(log), of]), 'untrusted bootloader_unknown');
    });
  }

  it('of which one machine has more boot entries is trusted, as far as their files were seen', () => {
    const log = withMadeFiles(recordedLog('fedora41-locality-3'));
    const entries = eventsWhere(log, ({ pcr, describes }) => pcr === 9 && describes.endsWith('.conf'));
    const name = '(hd3,gpt2)/loader/entries//c7e0f9f13ca94424a65113a185402288-7.0.0.conf';
    const entry = { pcr: 9, type: 13, data: Buffer.from(`${name}\0`) };
    for (const { index } of [...entries, { index: (entries.at(-1)?.index ?? 0) + 1 }]) {
      const more = insertBefore(log, index, { ...entry, measured: siblingFile(name) });
      assert.equal(judged(more, [captured(log)]), 'trusted');
      const unseen = insertBefore(log, index, { ...entry, measured: Buffer.from('nobody sent it') });
      assert.equal(judged(unseen, [captured(log)]), 'untrusted bootloader_unknown');
    }
  });

  it('is not trusted where a file that is called a boot entry comes after the kernel', () => {
    const log = withMadeFiles(recordedLog('fedora41-locality-3'));
    const name = '(hd3,gpt2)/loader/entries//late.conf';
    const entry = { pcr: 9, type: 13, data: Buffer.from(`${name}\0`), measured: siblingFile(name) };
    for (const { index } of eventsWhere(log, ({ pcr, stage }) => pcr === 9 && stage === 'initrd'))
      assert.equal(judged(insertBefore(log, index, entry), [captured(log)]), 'untrusted bootloader_unknown');
  });

  it('is trusted whichever entry of its menu starts a known kernel', () => {
    const log = withMadeFiles(recordedLog('debian11-shim-grub'));
    const [title] = eventsWhere(log, ({ describes }) => describes.startsWith('grub_cmd: setparams'));
    assert.ok(title);
    const told = (text: string) => {
      const measured = Buffer.from(text);
      return { pcr: 8, type: 13, data: Buffer.from(`grub_cmd: ${text}\0`), measured };
    };
    const submenu = insertBefore(log, title.index, told('setparams Advanced options for Debian'));
    const renamed = siblingLog(submenu, {
      text: (text) =>
        text
          .replace(
            'setparams Debian GNU/Linux',
            'setparams Debian GNU/Linux, with Linux 5.18.0-0.deb11.4-amd64',
          )
          .replace('set default=0', 'set default=1>0')
          .replace('echo Loading', 'echo Now loading'),
      configuration: true,
    });
    assert.notDeepEqual(renamed, submenu);
    assert.equal(judged(renamed, [captured(log)]), 'trusted');
  });

  it('is trusted in the first boots after an update, which some systems count down, and by nothing else that counts', () => {
    const log = withMadeFiles(recordedLog('fedora41-locality-3'));
    const [test = assert.fail()] = eventsWhere(
      log,
      ({ describes }) => describes === 'grub_cmd: [ -n  -a 1 = 0 ]',
    );
    const counting = (...commands: readonly string[]) =>
      commands.reduce((before, text, index) => {
        const data = Buffer.from(`grub_cmd: ${text}\0`);
        return insertBefore(before, test.index + 1 + index, {
          pcr: 8,
          type: 13,
          data,
          measured: Buffer.from(text),
        });
      }, log);
    const counted = counting('[ 2 = 0 -o 2 = -1 ]', 'decrement boot_counter', 'save_env boot_counter');
    assert.equal(judged(counted, [captured(log)]), 'trusted');
    assert.equal(judged(log, [captured(counted)]), 'trusted');
    for (const text of ['decrement boot_counter x', 'decrement root', 'increment boot_counter\nlinux /evil'])
      assert.equal(judged(counting(text), [captured(log)]), 'untrusted bootloader_unknown', text);
  });

  it('is not trusted where one machine reads from another partition, or from two disks in turn', () => {
    const log = withMadeFiles(recordedLog('rhel8-shim-grub'));
    const changed = (from: string | RegExp, to: string) =>
      siblingLog(log, { text: (text) => text.replace(from, to), configuration: true });
    const partition = changed('load_env -f (hd0,gpt1)', 'load_env -f (hd0,gpt2)');
    assert.equal(judged(partition, [captured(log)]), 'untrusted bootloader_unknown');
    const swapped = changed('initrd (hd0,gpt2)', 'initrd (hd1,gpt2)');
    assert.notDeepEqual(swapped, log);
    assert.equal(judged(swapped, [captured(log)]), 'untrusted bootloader_unknown');
  });

  it('is not trusted where two disks changed places, and one command names the disk that it did (row 143)', () => {
    const log = withMadeFiles(recordedLog('centos9-shim-grub'));
    const named = (most: string, environment: string, initrd: string) =>
      siblingLog(log, {
        text: (text) => {
          if (text.includes('load_env -f (hd0')) return text.replace('(hd0', `(${environment}`);
          return text.replace('(hd0', `(${text.includes('initrd (hd0') ? initrd : most}`);
        },
        configuration: true,
      });
    const known = captured(named('hd0', 'hd1', 'hd0'));
    assert.equal(judged(named('hd1', 'hd0', 'hd1'), [known]), 'trusted');
    assert.equal(judged(named('hd1', 'hd0', 'hd0'), [known]), 'untrusted bootloader_unknown');
  });
});

describe('a system with two places that update in turns', () => {
  const coreos = withMadeFiles(recordedLog('coreos36-shim-grub'));
  const alternate = siblingLog(coreos, {
    text: (text) => text.replace(/\/ostree\/boot\.1\/(\S+)\/0\b/, '/ostree/boot.0/$1/1'),
    configuration: true,
  });

  it('is trusted in the other one where the policy names its mask, and only there', () => {
    assert.notDeepEqual(alternate, coreos);
    assert.equal(judged(alternate, [captured(coreos)], '{masks: [ostree]}'), 'trusted');
    assert.equal(judged(coreos, [captured(alternate)], '{masks: [ostree]}'), 'trusted');
    assert.equal(judged(alternate, [captured(coreos)]), 'untrusted cmdline_policy');
    assert.equal(judged(alternate, [captured(coreos)], '{masks: [flatcar]}'), 'untrusted cmdline_policy');
  });

  it('is not where its deployment is another one (row 143)', () => {
    const other = siblingLog(coreos, { text: (text) => text.replace(/(ostree=\S+\/)28f8/, '$100f8') });
    assert.equal(judged(other, [captured(coreos)], '{masks: [ostree]}'), 'untrusted cmdline_policy');
    const system = siblingLog(coreos, {
      text: (text) => text.replace('boot.1/fedora-coreos', 'boot.1/other'),
    });
    assert.equal(judged(system, [captured(coreos)], '{masks: [ostree]}'), 'untrusted cmdline_policy');
  });

  it('is trusted in either place of Container-Optimized OS without a mask', () => {
    const log = withMadeFiles(recordedLog('cos-shim-grub'));
    const other = siblingLog(log, {
      text: (text) =>
        text
          .replace('set default=3', 'set default=2')
          .replace('setparams verified image B', 'setparams verified image A')
          .replace(/^((?:grub_cmd: linux|kernel_cmdline:) \/syslinux\/vmlinuz)\.B/, '$1.A'),
    });
    assert.notDeepEqual(other, log);
    assert.equal(judged(other, [captured(log)]), 'trusted');
    const hash = siblingLog(other, { text: (text) => text.replace('sha256 6af0', 'sha256 6af1') });
    assert.notDeepEqual(hash, other);
    assert.equal(judged(hash, [captured(log)]), 'untrusted cmdline_policy');
  });
});
