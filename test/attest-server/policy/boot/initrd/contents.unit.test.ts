import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import { DigestList } from '../../../../../attest-server/formats/digest-list.ts';
import { atOnce } from '../../../../../attest-server/formats/in-steps.ts';
import type { InitrdEntry, InitrdManifest } from '../../../../../attest-server/formats/initrd-manifest.ts';
import type { Reference } from '../../../../../attest-server/formats/reference.ts';
import { nextStep } from '../../../../../attest-server/policy/advice.ts';
import { noPast } from '../../../../../attest-server/policy/appraise.ts';
import { InitrdJudge } from '../../../../../attest-server/policy/boot/initrd/judge-contents.ts';
import { defaultBootRules } from '../../../../../attest-server/policy/boot/rules.ts';
import { vouchedBoot } from '../../../../../attest-server/policy/boot/vouched-boot.ts';
import { captureReferencesInSteps } from '../../../../../attest-server/policy/capture.ts';
import { CaptureError } from '../../../../../attest-server/policy/capture-error.ts';
import type { UnknownThings } from '../../../../../attest-server/policy/unknown.ts';
import type { MeasuredBoot } from '../../../../../attest-server/verify/measured-boot.ts';
import type { Proven } from '../../../../../attest-server/verify/proven.ts';
import type { ReadInitrd } from '../../../../../attest-server/verify/read-initrd.ts';
import type { Reason, Verdict } from '../../../../../attest-server/wire/verdict.ts';
import { asRead, recordedManifest, recordedPackages } from '../../../../swtpm-fixtures/recorded-initrd.ts';
import { recordedLog } from '../../../../swtpm-fixtures/recorded-log.ts';
import { runtimeReference } from '../../made-files.ts';
import { capturedFrom, madeProof, policyOf, verdictOn, verdictsBy } from '../../made-proof.ts';

const at = Date.parse('2026-11-25T12:00:00Z');
const proof = madeProof({ log: recordedLog('debian13-shim-grub') });
const boot = capturedFrom(proof);
/** Another image than the one that the reference has. */
const otherBoot: Reference = {
  ...boot,
  components: boot.components.map((one) =>
    one.stage === 'initrd' ? { ...one, digests: { sha256: '1'.repeat(64) } } : one,
  ),
};
const policy = policyOf('require: [identity, boot]', 'boot: {scope: {initrd: contents}}');
const recorded = recordedManifest();
const packages = recordedPackages();
const group = policy.groups[0]!;

const initrd = proof.boot?.state.components.find(({ stage }) => stage === 'initrd');

/** As if the image that was measured held this. */
function bootedWith({ image, ...rest }: InitrdManifest, read = asRead): Proven {
  const measured = { ...image, sha256: initrd?.digests.sha256 ?? '' };
  const initrds: MeasuredBoot['initrds'] = [read({ ...rest, image: measured })];
  // Only verify makes it: its seal is for the compiler alone.
  return { ...proof, boot: { ...proof.boot, initrds } } as Proven;
}

function judged(
  manifest: InitrdManifest,
  references: readonly Reference[] = [packages, vouched],
  past = noPast,
): Verdict {
  return verdictOn(bootedWith(manifest), policy, { name: 'n', past }, [otherBoot, ...references], at);
}

/** What somebody vouches for on a node that booted this. */
function captured(manifest: InitrdManifest, only: readonly string[] | null, name = 'vouched'): Reference {
  const about = { name, state: 'active', by: 'me', at, only, initrd: true } as const;
  const answers = [{ node: 'n', proven: bootedWith(manifest) }];
  const [made] = atOnce(captureReferencesInSteps('runtime', answers, group, about));
  assert.ok(made);
  return made;
}

const hostMade = ['/cryptroot/crypttab'];
const vouched = captured(recorded, hostMade);

function unknownOf(
  manifest: InitrdManifest,
  references: readonly Reference[] = [packages, vouched],
): UnknownThings | null {
  const { boot: measured, banks } = proof;
  assert.ok(measured);
  const judge = new InitrdJudge(references, group.name, defaultBootRules);
  const image = { ...manifest.image, sha256: initrd?.digests.sha256 ?? '' };
  const boot = vouchedBoot(measured, banks, defaultBootRules, []);
  return judge.judge(boot, [asRead({ ...manifest, image })], null, at).unknown;
}
const shown = (...changes: readonly Change[]) => unknownOf(changed(...changes));

const summary = ({ state, reasons }: Verdict) =>
  [state, ...reasons.filter(({ severity }) => severity === 'fail').map(({ code }) => code)].join(' ');

function reasonOf({ reasons }: Verdict, code = 'initrd_unknown'): Reason {
  const found = reasons.find((reason) => reason.code === code);
  assert.ok(found, code);
  return found;
}

/** What is told of, path by path. */
function unknownIn(verdict: Verdict): readonly string[] {
  const { detail = [] } = reasonOf(verdict);
  return detail.filter((line) => line.startsWith('/')).map((line) => line.split(' ')[0]!);
}

interface Change {
  readonly path: string;
  readonly text?: string;
  readonly bytes?: Buffer;
  readonly entry?: Partial<InitrdEntry>;
}

/** The same with a file that is another, or new. */
function changed(...changes: readonly Change[]): InitrdManifest {
  let { entries, contents } = recorded;
  for (const { path, text, bytes = text === undefined ? undefined : Buffer.from(text), entry } of changes) {
    const before = entries.find((one) => one.path === path) ?? { path, mode: 0o100644 };
    const sha256 = bytes && hash('sha256', bytes, 'hex');
    const file = { ...before, ...(bytes && { sha256, bytes: bytes.length }), ...entry } as InitrdEntry;
    entries = [...entries.filter((one) => one.path !== path), file];
    if (bytes && sha256) contents = { ...contents, [sha256]: bytes.toString('base64') };
  }
  return { ...recorded, entries, contents };
}

function entryAt(path: string): InitrdEntry {
  const found = recorded.entries.find((one) => one.path === path);
  assert.ok(found, path);
  return found;
}

const textAt = (path: string) => Buffer.from(recorded.contents[entryAt(path).sha256 ?? ''] ?? '', 'base64');
const modules = recorded.entries
  .find(({ path }) => path.endsWith('/modules.dep'))!
  .path.slice(0, -'/modules.dep'.length);

describe('an initrd judged by what is in it', () => {
  it('is known, as Debian makes it, by its packages and what somebody vouches for, whatever its digest', () => {
    const verdict = judged(recorded);
    assert.equal(summary(verdict), 'trusted');
    assert.deepEqual(verdict.aspects.boot?.references?.toSorted(), ['debian-13', 'ref', 'vouched']);
    const byDigest = policyOf('require: [identity, boot]');
    const group = verdictOn(
      bootedWith(recorded),
      byDigest,
      { name: 'n' },
      [otherBoot, packages, vouched],
      at,
    );
    assert.equal(summary(group), 'untrusted initrd_unknown');
  });

  it('shows what no list has as one thing for all nodes that have the same, identifiers of machines aside', () => {
    const crypttab = (uuid: string) =>
      shown({ path: 'cryptroot/crypttab', text: `root UUID=${uuid} none luks\n` });
    const one = crypttab('5f9a1c1e-0000-4000-8000-000000000001');
    assert.deepEqual([one?.only, one?.lacks, one?.inInitrd], [['/cryptroot/crypttab'], null, true]);
    assert.equal(one?.set, crypttab('5f9a1c1e-0000-4000-8000-000000000002')?.set);
    assert.notEqual(one?.set, shown({ path: 'cryptroot/crypttab', text: 'root /dev/sda none luks\n' })?.set);
    assert.equal(shown(), null);
  });

  it('offers no list where none would make known what is in it', () => {
    const setuid = shown({ path: 'usr/bin/tool', text: 'tool', entry: { mode: 0o104755 } });
    assert.match(setuid?.lacks ?? '', /\/usr\/bin\/tool/);
    assert.equal(shown({ path: 'usr/bin/tool', text: 'tool', entry: { mode: 0o100755 } })?.lacks, null);
    const faults = [{ offset: 0, code: 'compression', text: 'lz4' }] as const;
    assert.notEqual(unknownOf({ ...recorded, faults })?.lacks, null);
  });

  it('names a list that has all of it and is not in force, and takes more than some files as a whole', () => {
    const staged: Reference = { ...vouched, state: 'staged' };
    const known = unknownOf(recorded, [packages, staged]);
    assert.deepEqual([known?.knownBy, known?.only], [vouched.name, hostMade]);
    const many = Array.from({ length: 9 }, (_, index) => ({ path: `usr/bin/tool-${index}`, text: 'tool' }));
    assert.equal(shown(...many)?.only, undefined);
  });

  it('is judged in steps that are short, however long a list of modules is that it holds', () => {
    const index = `${modules}/modules.alias`;
    const line = textAt(index)
      .toString()
      .split('\n')
      .find((one) => one.startsWith('alias '))!;
    const long = changed({ path: index, text: `${line}\n`.repeat((1024 * 1024) / (line.length + 1)) });
    const stepsOf = (manifest: InitrdManifest) => {
      const judge = new InitrdJudge([packages, vouched], group.name, defaultBootRules);
      return [...judge.ahead([asRead(manifest)], at)].length;
    };
    assert.equal(summary(judged(long)), 'trusted');
    assert.ok(stepsOf(long) - stepsOf(recorded) >= 16, `${stepsOf(long)} ${stepsOf(recorded)}`);
  });

  it('costs no more where one long file lies at all the paths that a rule reads', () => {
    const bytes = Buffer.from(`#${' '.repeat(98)}\n`.repeat(8_000));
    const entry = { sha256: hash('sha256', bytes, 'hex'), bytes: bytes.length };
    const others = Array.from({ length: 399 }, (_, count) => ({ path: `conf/conf.d/${count}`, entry }));
    const verdict = judged(changed({ path: 'conf/conf.d/399', bytes }, ...others));
    const counted = reasonOf(verdict).detail?.find((line) => line.includes('files and links')) ?? '';
    const count = (kind: string) => Number(new RegExp(`(\\d+) ${kind}`).exec(counted)?.[1]);
    assert.ok(count('settings') < 100 && count('unknown') > 300, counted);
  });

  it('leaves, beside the files of packages, the crypttab to vouch for, and shows what it says', () => {
    const verdict = judged(recorded, [packages]);
    assert.equal(summary(verdict), 'untrusted initrd_unknown');
    assert.deepEqual(unknownIn(verdict), hostMade);
    const { detail = [], actual } = reasonOf(verdict);
    assert.ok(detail.includes('  | cryptroot UUID=12345678-1234-1234-1234-123456789abc none luks,initramfs'));
    assert.equal(actual, `/cryptroot/crypttab ${entryAt('cryptroot/crypttab').sha256}`);
    assert.match(detail.at(-1) ?? '', /\b6 order\b.*\b11 modules\b|\b11 modules\b.*\b6 order\b/);
  });

  it('knows the crypttab of a sibling, which names another disk, and not one that says more', () => {
    const text = textAt('cryptroot/crypttab').toString();
    const other = text.replace(
      '12345678-1234-1234-1234-123456789abc',
      'abcdef01-1234-1234-1234-123456789abc',
    );
    assert.notEqual(other, text);
    assert.equal(summary(judged(changed({ path: 'cryptroot/crypttab', text: other }))), 'trusted');
    const more = text.replace('initramfs', 'initramfs,keyscript=/usr/bin/busybox');
    assert.deepEqual(unknownIn(judged(changed({ path: 'cryptroot/crypttab', text: more }))), [
      '/cryptroot/crypttab',
    ]);
  });

  it('does not know a crypttab whose keyscript is not there, whoever vouches for it (row 194)', () => {
    const text = 'cryptroot UUID=12345678-1234-1234-1234-123456789abc none luks,keyscript=/lib/keys\n';
    const manifest = changed({ path: 'cryptroot/crypttab', text });
    assert.deepEqual(unknownIn(judged(manifest, [packages, vouched, captured(manifest, null)])), [
      '/cryptroot/crypttab',
    ]);
  });

  for (const [name, known] of [
    ['another program', 'usr/bin/kmod'],
    ['busybox', 'usr/bin/busybox'],
    ['a script', 'scripts/functions'],
  ] as const)
    it(`does not know ${name}, which is known, in the place of a program (row 190)`, () => {
      const { sha256 = '' } = entryAt(known);
      const verdict = judged(changed({ path: 'usr/sbin/cryptsetup', entry: { sha256 } }));
      assert.deepEqual(unknownIn(verdict), ['/usr/sbin/cryptsetup']);
      assert.match(
        reasonOf(verdict).detail?.[0] ?? '',
        /known as \/.* of package .* of debian-13, and not here/,
      );
    });

  it('knows each name of busybox, and no other program by the name of one', () => {
    assert.equal(entryAt('usr/bin/awk').sha256, entryAt('usr/bin/busybox').sha256);
    const { sha256 = '' } = entryAt('usr/sbin/cryptsetup');
    assert.deepEqual(unknownIn(judged(changed({ path: 'usr/bin/awk', entry: { sha256 } }))), [
      '/usr/bin/awk',
    ]);
  });

  for (const [what, path, target] of [
    ['a program', 'usr/sbin/cryptsetup', '/usr/bin/cat'],
    ['a program of the same name elsewhere', 'usr/sbin/cryptsetup', '/etc/cryptsetup'],
    ['a library', 'usr/lib/x86_64-linux-gnu/libcryptsetup.so.12', 'libz.so.1'],
    [
      'a unit of dracut',
      'etc/systemd/system/initrd.target.wants/dracut-a.service',
      '/usr/lib/systemd/system/b.service',
    ],
    [
      'a unit that nobody wants',
      'etc/systemd/system/sysinit.target.wants/debug-shell.service',
      '/usr/lib/systemd/system/debug-shell.service',
    ],
  ] as const)
    it(`does not know a link in the place of ${what} (row 190)`, () => {
      const entry: InitrdEntry = { path, mode: 0o120777, target };
      const entries = [...recorded.entries.filter((one) => one.path !== path), entry];
      assert.deepEqual(unknownIn(judged({ ...recorded, entries })), [`/${path}`]);
    });

  for (const [what, change] of [
    ['an order that runs more', { path: 'scripts/init-top/ORDER', text: '/usr/bin/busybox sh /x\n' }],
    [
      'an order of scripts of another folder',
      { path: 'scripts/init-top/ORDER', text: '/scripts/local-top/cryptroot "$@"\n' },
    ],
    [
      'an order of a script that is not there',
      { path: 'scripts/init-top/ORDER', text: '/scripts/init-top/more "$@"\n' },
    ],
    ['settings that run something', { path: 'conf/conf.d/x', text: 'FSTYPE=auto$(reboot)\n' }],
    ['settings that change where programs are', { path: 'conf/conf.d/x', text: 'PATH=/run\n' }],
    ['settings that resume from a disk', { path: 'conf/conf.d/resume', text: 'RESUME=UUID=1\n' }],
    ['options of a module', { path: 'conf/modules', text: 'dm_mod create=x\n' }],
    ['modules that lie elsewhere', { path: `${modules}/modules.dep`, text: '/run/evil.ko:\n' }],
    ['modules by a way up', { path: `${modules}/modules.dep`, text: 'kernel/../../../../run/evil.ko:\n' }],
    ['a line that runs a program', { path: `${modules}/modules.softdep`, text: 'install dm_mod /bin/sh\n' }],
    ['an alias of a module that is not there', { path: `${modules}/modules.alias`, text: 'alias x evil\n' }],
    ['libraries in other folders', { path: 'etc/ld.so.conf.d/x.conf', text: '/run/lib\n' }],
    ['a program that is empty', { path: 'usr/sbin/cryptsetup', bytes: Buffer.alloc(0) }],
    [
      'a script of init that is emptied',
      { path: 'scripts/local-top/cryptroot', bytes: Buffer.alloc(0), entry: { mode: 0o100644 } },
    ],
    [
      'a rule of udev that is emptied',
      { path: 'usr/lib/udev/rules.d/50-udev-default.rules', bytes: Buffer.alloc(0) },
    ],
    ['a unit that is masked', { path: 'etc/systemd/system/a.service', bytes: Buffer.alloc(0) }],
    ['a file of a package that is emptied', { path: 'etc/lvm/lvm.conf', bytes: Buffer.alloc(0) }],
    ['a file in a place that no rule knows', { path: 'etc/profile', text: 'true\n' }],
    ['tables of the firmware', { path: 'kernel/firmware/acpi/dsdt.aml', text: 'DSDT' }],
    ['microcode that nobody vouches for', { path: 'kernel/x86/microcode/GenuineIntel.bin', text: 'x' }],
    ['parameters that init reads', { path: 'conf/param.conf', text: 'ROOT=/dev/sdb\n' }],
  ] as const satisfies readonly (readonly [string, Change])[])
    it(`does not know ${what} (row 191)`, () => {
      assert.deepEqual(unknownIn(judged(changed(change))), [`/${change.path}`]);
    });

  it('does not know a table of the firmware that the kernel reads early, whatever takes its place later (row 191)', () => {
    const path = 'kernel/firmware/acpi/dsdt.aml';
    const good = changed({ path, text: 'good' });
    const taken = captured(good, [`/${path}`], 'tables');
    assert.equal(summary(judged(good, [packages, vouched, taken])), 'trusted');
    const evil: InitrdEntry = { path, mode: 0o100644, bytes: 4, sha256: '6'.repeat(64), replaced: true };
    const behind = { ...good, entries: [evil, ...good.entries] };
    assert.deepEqual(unknownIn(judged(behind, [packages, vouched, taken])), [`/${path}`]);
    // Elsewhere the last one counts alone.
    const other = { ...good, entries: [{ ...evil, path: 'init' }, ...good.entries] };
    assert.equal(summary(judged(other, [packages, vouched, taken])), 'trusted');
  });

  it('does not know an index of modules that names one that is not there (row 191)', () => {
    const path = `${modules}/modules.dep.bin`;
    const bytes = Buffer.from(textAt(path));
    const place = bytes.indexOf('kernel/');
    assert.ok(place > 0);
    bytes.write('Kernel/', place);
    assert.deepEqual(unknownIn(judged(changed({ path, bytes }))), [`/${path}`]);
    assert.deepEqual(unknownIn(judged(changed({ path, bytes: bytes.subarray(0, 40) }))), [`/${path}`]);
  });

  it('does not know a cache that gives one library for another (row 191)', () => {
    const path = 'etc/ld.so.cache';
    const bytes = Buffer.from(textAt(path));
    // The second entry gets the path of the first.
    bytes.copyWithin(48 + 24 + 8, 48 + 8, 48 + 12);
    assert.deepEqual(unknownIn(judged(changed({ path, bytes }))), [`/${path}`]);
  });

  for (const [what, entry] of [
    ['that everybody may write', { mode: 0o100777 }],
    ['with the rights of its owner', { mode: 0o104755 }],
  ] as const)
    it(`does not know a known program ${what} (row 192)`, () => {
      assert.deepEqual(unknownIn(judged(changed({ path: 'usr/sbin/cryptsetup', entry }))), [
        '/usr/sbin/cryptsetup',
      ]);
    });

  it('does not know a device but those that every initrd may have', () => {
    const disk: InitrdEntry = { path: 'dev/sda', mode: 0o060600, device: [8, 0] };
    const memory: InitrdEntry = { path: 'dev/null', mode: 0o020666, device: [1, 1] };
    const console: InitrdEntry = { path: 'dev/console', mode: 0o020600, device: [5, 1] };
    const verdict = judged({ ...recorded, entries: [...recorded.entries, disk, memory, console] });
    assert.deepEqual(unknownIn(verdict), ['/dev/sda', '/dev/null']);
  });

  it('is told with the command that takes the file, and none that would not help', () => {
    const stepsFor = (manifest: InitrdManifest) =>
      nextStep(reasonOf(judged(manifest)), { node: 'n', name: 'x' })
        .split('\n')
        .filter((line) => line.startsWith('  assay reference'));
    const path = 'etc/it is';
    assert.deepEqual(stepsFor(changed({ path, text: 'new' })), [
      "  assay reference capture n --kind runtime --initrd --only '/etc/it is' --name x --staged",
      '  assay reference approve x --reason "its files are wanted"',
      '  assay reference capture n --kind runtime --initrd --name x --staged',
    ]);
    const link = changed({ path: 'usr/bin/a', entry: { mode: 0o120777, target: 'b' } });
    assert.match(stepsFor(link)[0] ?? '', / --only \/usr\/bin\/a /);
    const fault = { offset: 512, code: 'compression', text: 'packed by lz4' } as const;
    assert.deepEqual(stepsFor({ ...recorded, faults: [fault] }), []);
  });

  it('counts the last of two files of one path, and tells that there are two', () => {
    const evil: InitrdEntry = { path: 'init', mode: 0o100755, bytes: 1, sha256: '0'.repeat(64) };
    const first = judged({ ...recorded, entries: [{ ...evil, replaced: true }, ...recorded.entries] });
    assert.equal(summary(first), 'trusted');
    const init = { ...entryAt('init'), replaced: true } as const;
    const entries = [...recorded.entries.filter(({ path }) => path !== 'init'), init, evil];
    const last = judged({ ...recorded, entries });
    assert.deepEqual(unknownIn(last), ['/init']);
    assert.match(reasonOf(last).detail?.at(-1) ?? '', /more than once.*init/);
  });

  it('is pending, and says why, until its content is here', () => {
    const unseen = { ...proof, boot: { ...proof.boot, initrds: [] } } as unknown as Proven;
    const wait = { ...noPast, initrdWait: 'It waits: third of 12.' };
    const verdict = verdictOn(unseen, policy, { name: 'n', past: wait }, [otherBoot, packages, vouched], at);
    assert.equal(summary(verdict), 'pending facts_unavailable');
    assert.match(reasonOf(verdict, 'facts_unavailable').text, /third of 12/);
    assert.match(nextStep(reasonOf(verdict, 'facts_unavailable')), /^ {2}assay-agent inspect --initrd$/m);
    const other = { ...recorded, image: { ...recorded.image, sha256: '2'.repeat(64) } };
    const another = { ...proof, boot: { ...proof.boot, initrds: [other] } } as unknown as Proven;
    assert.equal(
      summary(verdictOn(another, policy, { name: 'n' }, [otherBoot, packages, vouched], at)),
      'pending facts_unavailable',
    );
  });

  it('is unknown where the image is not all that the kernel unpacks (row 193)', () => {
    const fault = { offset: 512, code: 'compression', text: 'packed by lz4' } as const;
    const verdict = judged({ ...recorded, faults: [fault] });
    assert.equal(summary(verdict), 'untrusted initrd_unknown');
    assert.match(reasonOf(verdict).text, /byte 512: compression: packed by lz4/);
  });

  it('is judged by lists that are approved, expired, retired or revoked later, at once', () => {
    const { state: _state, ...file } = vouched;
    const by = (change: Partial<Reference>) =>
      judged(recorded, [packages, { ...file, state: 'active', ...change }]);
    const staged = by({ state: 'staged' });
    assert.equal(summary(staged), 'untrusted initrd_unknown');
    assert.equal(reasonOf(staged).outOfForce, 'vouched');
    assert.equal(reasonOf(by({ state: 'retired' })).outOfForce, 'vouched');
    assert.equal(summary(by({ expires: new Date(at - 1).toISOString() })), 'untrusted initrd_unknown');
    assert.equal(summary(by({ state: 'revoked' })), 'untrusted revoked_reference initrd_unknown');
    assert.equal(reasonOf(by({ state: 'revoked' }), 'revoked_reference').reference, 'vouched');
  });

  it('is judged anew when a list expires, by one appraiser that remembers', () => {
    const ends = { ...vouched, expires: new Date(at + 1000).toISOString() };
    const judge = verdictsBy(policy, [otherBoot, packages, ends]);
    const proven = bootedWith(recorded);
    const states = [0, 999, 1000, 0].map((later) => judge(proven, { name: 'n' }, at + later).state);
    assert.deepEqual(states, ['trusted', 'trusted', 'untrusted', 'trusted']);
  });

  it('is known by no list of another group', () => {
    const verdict = judged(recorded, [{ ...packages, group: 'others' }, vouched]);
    assert.equal(summary(verdict), 'untrusted initrd_unknown');
  });

  it('makes a reference of all that is in it, or of some files, by which a sibling is known', () => {
    const whole = captured(recorded, null, 'whole');
    assert.equal(summary(judged(recorded, [whole])), 'trusted');
    assert.throws(() => captured(recorded, ['/etc/shadow']), CaptureError);
    assert.throws(
      () => captured({ ...recorded, faults: [{ offset: 0, code: 'malformed', text: 'x' }] }, null),
      CaptureError,
    );
    const about = { name: 'x', state: 'active', by: 'me', at, only: null, initrd: true } as const;
    assert.throws(
      () => atOnce(captureReferencesInSteps('runtime', [{ node: 'n', proven: proof }], group, about)),
      CaptureError,
    );
  });

  it('needs the rest of the boot to be known all the same', () => {
    assert.equal(
      verdictOn(bootedWith(recorded), policy, { name: 'n' }, [packages, vouched], at).state,
      'pending',
    );
    const { components, ...rest } = otherBoot;
    const kernel = components.map((one) =>
      one.stage === 'kernel' ? { ...one, digests: { sha256: '3'.repeat(64) } } : one,
    );
    const verdict = verdictOn(
      bootedWith(recorded),
      policy,
      { name: 'n' },
      [{ ...rest, components: kernel }, packages, vouched],
      at,
    );
    assert.equal(summary(verdict), 'untrusted kernel_unknown');
  });

  it('is read once for a boot that is compared with what is in force and with what was announced', () => {
    const known = {
      ...otherBoot,
      components: otherBoot.components.map((one) =>
        one.stage === 'kernel' ? { ...one, digests: { sha256: '3'.repeat(64) } } : one,
      ),
    };
    const announced = { nodes: null, by: 'me', at: '2026-11-25T00:00:00Z', until: '2026-11-26T00:00:00Z' };
    const next: Reference = {
      ...otherBoot,
      name: 'next',
      state: 'staged',
      announced: { ...announced, reason: 'a new kernel' },
    };
    let reads = 0;
    const shown = bootedWith(recorded, (manifest) => {
      const made = asRead(manifest);
      const whole = () => {
        reads++;
        return made.whole();
      };
      return { ...made, whole } as ReadInitrd;
    });
    const verdict = verdictOn(shown, policy, { name: 'n' }, [known, next, packages, vouched], at);
    assert.equal(verdict.state, 'trusted');
    assert.equal(reasonOf(verdict, 'change_expected').reference, 'next');
    assert.equal(reads, 1);
  });

  it('takes an empty list for nothing known', () => {
    assert.equal(
      summary(judged(recorded, [runtimeReference(DigestList.of([]))])),
      'untrusted initrd_unknown',
    );
  });
});
