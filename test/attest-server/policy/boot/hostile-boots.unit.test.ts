import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { describe, it } from 'mocha';
import type { Reference } from '../../../../attest-server/formats/reference.ts';
import { parseCommandLine } from '../../../../attest-server/policy/command-line.ts';
import { hashPart } from '../../../../attest-server/verify/hashed-part.ts';
import { measureBoot } from '../../../../attest-server/verify/measured-boot.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import { siblingFile, withMadeFiles } from '../../../../swtpm-fixtures/loader-files.ts';
import { rewriteLog } from '../../../../swtpm-fixtures/rewrite-log.ts';
import { siblingLog } from '../../../../swtpm-fixtures/sibling.ts';
import { recordedLog } from '../../../swtpm-fixtures/recorded-log.ts';
import {
  without as cut,
  dataOf,
  edited,
  eventsWhere,
  eventWhere,
  insertBefore,
  remeasured,
  retyped,
  withoutKernel,
} from '../../../vectors/log-surgery.ts';
import { shimGuid, variable } from '../../verify/boot/made-boot.ts';
import { bootByHand, plainState, provenByHand } from '../../verify/made-by-hand.ts';
import { byValues, capturedFrom, madeProof, policyOf, replayedValues, verdictsBy } from '../made-proof.ts';

const log = recordedLog('debian13-shim-grub');
const unified = recordedLog('debian13-sdboot-uki');
const fedora = withMadeFiles(recordedLog('fedora41-locality-3'));

function captured(from: Buffer): Reference {
  return capturedFrom(madeProof({ log: from }));
}

/** As somebody computes it: of these stages, and not of a boot as a whole. */
function without(stage: string): Reference {
  const whole = captured(log);
  return { ...whole, events: [], components: whole.components.filter((one) => one.stage !== stage) };
}

function judged(of: Buffer | Proven, boot = '{}', reference = captured(log)): string {
  const appraise = verdictsBy(policyOf('require: [identity, boot]', `boot: ${boot}`), [reference]);
  const proven = 'banks' in of ? of : madeProof({ log: of });
  const { state, reasons } = appraise(proven, { name: 'n' }, 0);
  return [state, ...reasons.map(({ code }) => code)].join(' ');
}

const withText = (text: (text: string) => string) => siblingLog(log, { text });
const withWords = (words: string) => withText((text) => text.replaceAll(' ro ', ` ro ${words} `));

/** Something measured into PCR 9 where GRUB reads the initrd. */
function besideInitrd(from: Buffer, type: number, data: Buffer): Buffer {
  const initrd = eventsWhere(from, ({ pcr, stage }) => pcr === 9 && stage === 'initrd')[0]?.index ?? 0;
  return insertBefore(from, initrd, { pcr: 9, type, data, measured: Buffer.from('another initrd') });
}

describe('a configuration file of a loader', () => {
  const named = Buffer.from('(hd0,gpt2)/boot/grub/grub.cfg\0');
  const tag = Buffer.from('2c58bcf504000000', 'hex');

  it('is none where the loader had read the kernel already, whatever the log calls it', () => {
    assert.equal(judged(besideInitrd(log, 13, named)), 'untrusted bootloader_unknown');
    const tagged = besideInitrd(log, 6, Buffer.concat([tag, Buffer.from('cfg\0')]));
    assert.equal(judged(tagged), 'untrusted bootloader_unknown');
    assert.equal(
      judged(besideInitrd(fedora, 13, named), '{}', captured(fedora)),
      'untrusted bootloader_unknown',
    );
  });

  const files = eventsWhere(fedora, ({ pcr, describes }) => pcr === 9 && describes.endsWith('.conf'));
  const [first] = files;
  assert.ok(first);

  it('may be another one, be missing, or be one more, in its place, as far as it was seen', () => {
    const reference = captured(fedora);
    const other = remeasured(fedora, first.index, dataOf(fedora, first.index), siblingFile(first.describes));
    assert.equal(judged(other, '{}', reference), 'trusted');
    const name = first.describes.replace('.conf', '-more.conf');
    const more = { pcr: 9, type: 13, data: Buffer.from(`${name}\0`), measured: siblingFile(name) };
    const withMore = insertBefore(fedora, first.index, more);
    assert.equal(judged(withMore, '{}', reference), 'trusted');
    assert.equal(judged(fedora, '{}', captured(withMore)), 'trusted');
    const unseen = insertBefore(fedora, first.index, { ...more, measured: Buffer.from('not sent') });
    assert.equal(judged(unseen, '{}', reference), 'untrusted bootloader_unknown');
  });

  it('that is read twice is the same one twice', () => {
    const [once, again] = eventsWhere(log, ({ pcr, describes }) => pcr === 9 && describes.endsWith('.cfg'));
    assert.ok(once && again);
    const other = (from: Buffer, index: number) =>
      remeasured(from, index, dataOf(log, index), siblingFile(once.describes));
    assert.equal(judged(other(other(log, once.index), again.index)), 'trusted');
    for (const { index } of [once, again])
      assert.equal(judged(other(log, index)), 'untrusted bootloader_unknown');
  });

  it('is that of the node itself where the policy goes by node', () => {
    const other = remeasured(fedora, first.index, dataOf(fedora, first.index), siblingFile(first.describes));
    const scope = '{scope: {loader: node}}';
    assert.equal(judged(fedora, scope, captured(fedora)), 'trusted');
    assert.equal(judged(other, scope, captured(fedora)), 'untrusted bootloader_unknown');
  });
});

describe('what a stub adds to a unified image', () => {
  for (const pcr of [12, 13])
    it(`into PCR ${pcr} is not explained by a log of user space`, () => {
      const at = eventWhere(unified, ({ describes }) => describes === 'LOADED_IMAGE::LoadOptions').index;
      const added = {
        pcr,
        type: 13,
        data: Buffer.from('x\0', 'utf16le'),
        measured: Buffer.from('init=/bin/sh'),
      };
      const values = replayedValues(insertBefore(unified, at, added), 'sha256');
      const proven = madeProof({ log: unified, values });
      const digests = [{ hashAlg: 'sha256', digest: hash('sha256', 'init=/bin/sh') }];
      const record = JSON.stringify({
        pcr,
        digests,
        content: { eventType: 'phase', string: 'init=/bin/sh' },
      });
      const later = Buffer.from(`\x1e${record}\n`);
      const boot = measureBoot(hashPart(unified), proven.banks, hashPart(later));
      assert.deepEqual(
        boot.userSpace?.map((event) => event.pcr),
        [pcr],
      );
      assert.equal(judged(provenByHand(proven, { boot }), '{}', captured(unified)), 'untrusted pcr_mismatch');
    });
});

describe('a rule of the policy', () => {
  it('on SbatLevel takes no other event of PCR 7 away from the references, by whatever name', () => {
    const event = eventWhere(log, ({ pcr, describes }) => pcr === 7 && describes === 'SecureBoot = 01').index;
    const on = dataOf(log, event);
    const off = Buffer.from(on);
    off[off.length - 1] = 0;
    const hidden = edited(remeasured(log, event, off), event, variable('SbatLevel', off, shimGuid));
    const separator = eventWhere(hidden, ({ pcr, type }) => pcr === 7 && type === 'EV_SEPARATOR').index;
    const both = insertBefore(hidden, separator + 1, { pcr: 7, type: 0x80000001, data: on });
    assert.match(judged(both, '{sbat: {minimum: 2021030218}}'), /^untrusted .*secureboot_policy/);
  });

  it('on SbatLevel or signers sees what the log hides behind another type or other data', () => {
    const rules = ['{sbat: {minimum: 2021030218}}', '{signers: ["*"]}'];
    const tag = Buffer.from('0000000000000000', 'hex');
    for (const name of ['SbatLevel', 'MokListRT']) {
      const { index } = eventWhere(log, ({ pcr, describes }) => pcr === 7 && describes.startsWith(name));
      const data = dataOf(log, index);
      const hidden = [
        retyped(edited(log, index, Buffer.concat([tag, data])), index, 6),
        retyped(edited(log, index, Buffer.alloc(4)), index, 0x80000004),
        edited(log, index, variable('other', data, shimGuid)),
      ];
      for (const rule of rules) {
        assert.equal(judged(log, rule), 'trusted');
        for (const other of hidden) assert.match(judged(other, rule), /^untrusted secureboot_policy/);
      }
    }
  });

  it('that allows machine owner keys does not let shim check nothing', () => {
    const at = eventWhere(log, ({ describes }) => describes.startsWith('MokListTrusted')).index + 1;
    const off = { pcr: 14, type: 13, data: Buffer.from('MokSBState\0'), measured: Buffer.of(1) };
    assert.match(judged(insertBefore(log, at, off), '{mok: allow}'), /^untrusted secureboot_policy/);
  });

  it('on command lines covers none of which the text is not known', () => {
    const tag = Buffer.from('ed223b8f04000000', 'hex');
    const hidden = besideInitrd(log, 6, Buffer.concat([tag, Buffer.alloc(4)]));
    const rules = '{cmdline: {forbid: ["ima=off"]}}';
    assert.equal(judged(log, rules, without('cmdline')), 'trusted');
    assert.equal(judged(hidden, rules, without('cmdline')), 'pending no_reference');
  });

  it('on signers covers no event outside PCR 7', () => {
    const hidden = besideInitrd(log, 13, Buffer.from('MokList\0'));
    assert.equal(judged(hidden, '{signers: ["*"]}', without('secureboot')), 'pending no_reference');
  });
});

describe('firmware that the policy leaves open', () => {
  const scope = '{scope: {firmware: unpinned}}';

  it('is none where boot loaders run, whatever the log calls it', () => {
    const image = eventWhere(
      log,
      ({ pcr, describes }) => pcr === 4 && describes.endsWith('grubx64.efi'),
    ).index;
    const data = dataOf(log, image);
    // The device path that the log gives it: a file in a firmware volume.
    const path = Buffer.concat([
      Buffer.from('04061400', 'hex'),
      Buffer.alloc(16, 7),
      Buffer.from('7fff0400', 'hex'),
    ]);
    const inFirmware = Buffer.concat([data.subarray(0, 24), Buffer.alloc(8), path]);
    inFirmware.writeUInt32LE(path.length, 24);
    const other = insertBefore(log, image, {
      pcr: 4,
      type: 0x80000003,
      data: inFirmware,
      measured: Buffer.from('another loader'),
    });
    assert.equal(judged(other, scope), 'untrusted firmware_unknown');
  });

  it('is that of PCRs 0, 2 and 6', () => {
    const version = eventWhere(log, ({ type }) => type === 'EV_S_CRTM_VERSION').index;
    const other = remeasured(log, version, Buffer.from('an update\0', 'utf16le'));
    assert.equal(judged(other), 'untrusted firmware_unknown');
    assert.equal(judged(other, scope), 'trusted firmware_unknown');
  });
});

describe('an initrd that the policy leaves open', () => {
  it('is no kernel that was read before the known one', () => {
    const kernel = eventWhere(fedora, ({ pcr, stage }) => pcr === 9 && stage === 'kernel');
    const initrd = eventWhere(fedora, ({ pcr, stage }) => pcr === 9 && stage === 'initrd');
    const scope = '{scope: {initrd: unpinned}}';
    const own = remeasured(fedora, initrd.index, dataOf(fedora, initrd.index), Buffer.from('its own initrd'));
    assert.equal(judged(own, scope, captured(fedora)), 'trusted initrd_unknown');
    const other = insertBefore(cut(fedora, [initrd.index]), kernel.index, {
      pcr: 9,
      type: 13,
      data: Buffer.from('/initrd.img\0'),
      measured: Buffer.from('another kernel'),
    });
    assert.equal(judged(other, scope, captured(fedora)), 'untrusted initrd_unknown');
  });
});

describe('a stage that the policy leaves open and no reference covers', () => {
  it('has nothing in a PCR that is not its own', () => {
    const scope = '{scope: {initrd: unpinned}}';
    const tag = Buffer.concat([Buffer.from('ec223b8f04000000', 'hex'), Buffer.alloc(4)]);
    const loader = eventWhere(log, ({ pcr, describes }) => pcr === 4 && describes.endsWith('grubx64.efi'));
    const added = { pcr: 4, type: 6, data: tag, measured: Buffer.from('another loader') };
    assert.equal(judged(log, scope, without('initrd')), 'trusted initrd_unknown');
    const other = insertBefore(log, loader.index, added);
    assert.equal(judged(other, scope, without('initrd')), 'untrusted pcr_mismatch no_reference');
  });
});

describe('a quote that leaves out a PCR', () => {
  for (const pcr of [0, 2, 4, 7, 8, 9, 12, 13, 14])
    it(`${pcr}, which would tell, is not trusted`, () => {
      const mask = 0xffffff & ~(1 << pcr);
      assert.equal(judged(madeProof({ log, mask })), 'untrusted pcr_mismatch');
    });
});

describe('an action of the firmware', () => {
  it('is none where it is as long as code, though all of it prints', () => {
    const separator = eventWhere(log, ({ pcr, type }) => pcr === 4 && type === 'EV_SEPARATOR').index;
    const said = (data: Buffer) => insertBefore(log, separator, { pcr: 4, type: 0x80000007, data });
    assert.equal(judged(said(Buffer.from('Booting BCV Device 80h, (Hard Disk)\0'))), 'trusted');
    assert.match(judged(said(Buffer.alloc(440, 'X5O!P%@AP[4'))), /^untrusted bootloader_unknown/);
    assert.match(judged(said(Buffer.from('\u00e9 ', 'latin1'))), /^untrusted bootloader_unknown/);
  });
});

describe('a verdict that is remembered', () => {
  it('is not that of a node which says less of the same boot', () => {
    const policy = policyOf('require: [identity, boot]', 'boot: {cmdline: {require: ["ro"]}}');
    const appraise = verdictsBy(policy, [captured(log)]);
    const host = { commandLine: 'ro quiet' };
    const facts = {
      purpose: 'attest',
      node: 'n',
      bootId: '0'.repeat(36),
      helloDigest: '0'.repeat(64),
      host,
    } as const;
    const proven = provenByHand(madeProof({ log }), { facts });
    const state = proven.boot?.state;
    assert.ok(proven.boot && state);
    const said = { ...plainState(state), commandLines: [] };
    const silent = provenByHand(proven, { facts: null, boot: bootByHand({ ...proven.boot, state: said }) });
    assert.equal(appraise(silent, { name: 'n' }, 0).state, 'untrusted');
    assert.equal(appraise(proven, { name: 'n' }, 0).state, 'trusted');
    assert.equal(appraise(silent, { name: 'n' }, 0).state, 'untrusted');
  });
});

describe('a reference that knows PCR values alone', () => {
  it('is no match where it says nothing of what a loader put into PCR 12', () => {
    const booted = { pcr: 12, type: 13, data: Buffer.from('ro init=/bin/sh\0', 'utf16le') };
    const at = eventWhere(log, ({ describes }) => describes === 'Linux initrd').index;
    const other = insertBefore(log, at, booted);
    const named = byValues(captured(log), log);
    assert.equal(judged(log, '{}', named), 'trusted');
    assert.equal(judged(other, '{}', named), 'untrusted cmdline_policy');
    const values = replayedValues(other, 'sha256').toString('hex', 12 * 32, 13 * 32);
    const both = { ...named, pcrs: { sha256: { ...named.pcrs.sha256, 12: values } } };
    assert.equal(judged(other, '{}', both), 'trusted');
  });
});

describe('a reference that names few PCR values', () => {
  it('is no match for a quote that leaves out the others', () => {
    const all = byValues(captured(log), log);
    const { 4: four = '' } = all.pcrs.sha256 ?? {};
    const few = { ...all, pcrs: { sha256: { 4: four } } };
    assert.equal(judged(madeProof({ log, mask: 1 << 4 }), '{}', few), 'untrusted pcr_mismatch');
    assert.equal(judged(log, '{}', few), 'untrusted pcr_mismatch');
  });
});

describe('a kernel command line', () => {
  it('is split where the kernel splits it', () => {
    const split = (text: string) => parseCommandLine(text).arguments;
    assert.deepEqual(split('a\tb\vc "d e"=f g'), ['a', 'b', 'c', '"d e"=f', 'g']);
    assert.deepEqual(split('a \n b'), ['a', '\n', 'b']);
    assert.deepEqual(split('quiet\u00e0init=/bin/sh').at(-1), 'init=/bin/sh');
    assert.deepEqual(split('quiet\ufffdinit=/bin/sh').at(-1), 'init=/bin/sh');
    assert.deepEqual(split('name=Möwe'), ['name=Möwe']);
  });

  it('has no image where its name is more than one word to the kernel', () => {
    assert.equal(parseCommandLine('linux /vmlinuz ro').image, '/vmlinuz');
    for (const name of ['/vm"linuz', '/vmlinuz\u00e0init=/bin/sh', '/vmlinuz\ufffdinit=/bin/sh'])
      assert.equal(parseCommandLine(`linux ${name} ro`).image, null);
  });

  const forbid = '{cmdline: {forbid: ["ima=*", "module.sig_enforce=*", "init=/bin/*"]}}';
  const spellings = [
    '"ima=off"',
    'ima="off"',
    'module.sig-enforce=0',
    '"init=/bin/sh"',
    'a\u00e0init=/bin/sh',
    'a="b init=/bin/sh"',
  ];
  it('has no argument that is forbidden, however it is spelled', () => {
    assert.equal(judged(log, forbid, without('cmdline')), 'trusted');
    for (const word of spellings)
      assert.match(judged(withWords(word), forbid, without('cmdline')), /^untrusted cmdline_policy/, word);
    const tab = withText((text) => text.replaceAll('/vmlinuz ', '/vmlinuz\tinit=/bin/sh '));
    assert.match(judged(tab, forbid, without('cmdline')), /^untrusted cmdline_policy/);
  });

  it('does not have what is required behind --, where it is for what the kernel starts', () => {
    const require = '{cmdline: {require: ["lockdown=integrity"]}}';
    assert.equal(judged(withWords('lockdown=integrity'), require, without('cmdline')), 'trusted');
    for (const end of ['--', '"--"'])
      assert.match(
        judged(withWords(`${end} lockdown=integrity`), require, without('cmdline')),
        /^untrusted cmdline_policy/,
      );
  });

  it('of systemd-boot does not gain what is required by an extension of its PCR later', () => {
    const line = (text: string) => ({ pcr: 12, type: 13, data: Buffer.from(`${text}\0`, 'utf16le') });
    const sections = eventsWhere(unified, ({ pcr }) => pcr === 11).map(({ index }) => index);
    const plain = cut(unified, sections);
    const at = eventWhere(plain, ({ describes }) => describes === 'LOADED_IMAGE::LoadOptions').index;
    const first = insertBefore(plain, at, line('ro quiet'));
    const later = insertBefore(first, at + 1, line('ro quiet lockdown=integrity'));
    const rules = (word: string) => `{cmdline: {allow: ["lockdown=*"], require: ["${word}"]}}`;
    assert.equal(judged(later, rules('quiet'), captured(first)), 'trusted');
    assert.equal(judged(later, rules('lockdown=*'), captured(first)), 'untrusted cmdline_policy');
  });

  it('of which the kernel reads the beginning alone is known by its digest alone', () => {
    const path = '/0a9619ff-8b86-d011-b42d-00cf4fc964aa'.repeat(60);
    const long = withText((text) => text.replaceAll('/vmlinuz ', `${path}/vmlinuz `));
    assert.equal(judged(long), 'untrusted cmdline_policy');
    assert.equal(judged(long, '{}', captured(long)), 'trusted');
    const rules = '{cmdline: {require: ["ima_policy=tcb"]}}';
    assert.equal(judged(long, rules, without('cmdline')), 'pending no_reference');
    const short = withText((text) => text.replaceAll('/vmlinuz ', `${path.slice(0, 37)}/vmlinuz `));
    assert.equal(judged(short), 'trusted');
  });

  it('has no argument in the shadow of one that is allowed', () => {
    const allow = '{cmdline: {allow: ["mitigations=*"]}}';
    assert.equal(judged(withWords('mitigations=off'), allow), 'trusted');
    for (const word of [
      'mitigations=off\u00e0init=/bin/sh',
      'mitigations=\u00fcber',
      'mitigations=off"',
      'mitigations="off init=/bin/sh"',
    ])
      assert.match(judged(withWords(word), allow), /^untrusted cmdline_policy/, word);
  });
});

describe('an initrd that nobody measured (row 134)', () => {
  const tag = Buffer.from('ec223b8f0000000000000000', 'hex');
  const words = [
    '{}',
    '{scope: {initrd: unpinned}}',
    '{scope: {initrd: unpinned, loader: unpinned, kernel: unpinned}}',
  ];
  const boots = ['debian13-sdboot-entry', 'debian13-efistub', 'debian10-shim-grub', 'rhel8-shim-grub'];

  for (const name of boots)
    it(`is none for an event that the log calls one where nobody measures any, or for a known digest: ${name}`, () => {
      const whole = recordedLog(name);
      const lacking = cut(
        whole,
        eventsWhere(whole, ({ stage }) => stage === 'initrd').map(({ index }) => index),
      );
      const last = eventsWhere(lacking, ({ pcr }) => pcr === 9).at(-1);
      assert.ok(last);
      const inserted = (pcr: number, type: number, data: Buffer) =>
        insertBefore(lacking, last.index, { pcr, type, data, measured: Buffer.from('whatever') });
      const again = insertBefore(lacking, last.index + 1, { pcr: 9, type: 6, data: tag });
      const hidden = [
        lacking,
        inserted(3, 13, Buffer.from('/initrd.img\0')),
        inserted(5, 6, tag),
        inserted(11, 13, Buffer.from('.initrd\0', 'utf16le')),
        rewriteLog(again, new Map([[last.index + 1, { digest: last.digests }]])),
      ];
      for (const boot of words)
        for (const from of hidden)
          assert.match(judged(from, boot, captured(whole)), /^untrusted initrd_unmeasured/, boot);
    });
});

describe('a section of a unified image in the PCR that no boot_aggregate covers (rows 134, 135)', () => {
  const theirs = { ...captured(unified), name: 'theirs' };
  /** As of the image that another machine of the group boots. */
  const withSection = (from: Buffer, wanted: string) => {
    const known = eventsWhere(unified, ({ pcr, stage }) => pcr === 11 && stage === wanted).at(-1);
    const at = eventsWhere(from, ({ pcr }) => pcr === 9).at(-1)?.index ?? 0;
    const data = dataOf(unified, known?.index ?? 0);
    const said = insertBefore(from, at, { pcr: 11, type: 13, data });
    return rewriteLog(said, new Map([[at, { digest: known?.digests ?? {} }]]));
  };
  const both = (from: Buffer, own: Buffer) => {
    const policy = policyOf('require: [identity, boot]');
    const { state, reasons } = verdictsBy(policy, [captured(own), theirs])(
      madeProof({ log: from }),
      { name: 'n' },
      0,
    );
    return [state, ...reasons.map(({ code }) => code)].join(' ');
  };

  it('is no initrd and no kernel of a boot that is another one', () => {
    const stub = recordedLog('debian13-efistub');
    assert.equal(both(withSection(stub, 'initrd'), stub), 'untrusted initrd_unmeasured');
    const none = withoutKernel(recordedLog('debian10-shim-grub'));
    assert.equal(both(withSection(none, 'kernel'), none), 'untrusted kernel_unknown');
    assert.equal(both(unified, stub), 'trusted');
  });
});

describe('what a rule requires of a command line (row 41)', () => {
  const entry = recordedLog('debian13-sdboot-entry');
  const line = eventWhere(entry, ({ pcr }) => pcr === 12);
  const utf16 = (text: string) => Buffer.from(`${text}\0`, 'utf16le');
  const options = dataOf(entry, line.index).toString('utf16le').replace('\0', '');
  const longer = { pcr: 12, type: 13, data: utf16(`${options} lockdown=integrity`) };
  const section = { pcr: 11, type: 13, data: utf16('.linux'), measured: Buffer.from('anything') };
  const { index: stub } = eventWhere(entry, ({ pcr, stage }) => pcr === 9 && stage === 'cmdline');
  const good = remeasured(remeasured(entry, line.index, longer.data), stub, dataOf(entry, stub), longer.data);
  const hidden = insertBefore(insertBefore(entry, line.index + 1, longer), line.index + 1, section);

  for (const rule of ['require: ["lockdown=*"]', 'resume: forbid'])
    it(`is not in one that is extended later, behind a section that makes a loader’s line look like an addition: ${rule}`, () => {
      const boot = `{cmdline: {${rule}, allow: ["lockdown=*"]}}`;
      for (const from of [entry, hidden])
        assert.equal(judged(from, boot, captured(entry)), 'untrusted cmdline_policy');
      assert.equal(judged(good, boot, captured(entry)), 'trusted');
    });
});

describe('rules on command lines where the log does not show one (row 215)', () => {
  const honest = withMadeFiles(recordedLog('rhel8-shim-grub'));
  const evil = siblingLog(honest, { text: (text) => text.replace(/ ro /g, ' ro init=/bin/sh ') });
  const lines = (from: Buffer) =>
    eventsWhere(from, ({ pcr, stage }) => pcr === 8 && stage === 'cmdline').map(({ index }) => index);
  const hide = (from: Buffer) =>
    lines(from).reduce((log, index) => edited(log, index, Buffer.from('grub.cfg\0')), from);
  /** As somebody computes it: kernel and initrd, and no line. */
  const computed = () => {
    const whole = captured(honest);
    return {
      ...whole,
      events: [],
      components: whole.components.filter(({ stage }) => stage !== 'cmdline' && stage !== 'loader'),
    };
  };

  it('refuse the boot where nothing else compares that event', () => {
    const boot = '{scope: {loader: unpinned}, cmdline: {forbid: ["init=*"]}}';
    assert.match(judged(honest, boot, computed()), /^trusted/);
    for (const from of [evil, hide(evil)])
      assert.match(judged(from, boot, computed()), /^untrusted .*cmdline_policy/);
  });

  it('refuse it where a reference from before the rule has that line', () => {
    const boot = '{cmdline: {forbid: ["init=*"]}}';
    assert.equal(judged(hide(evil), '{}', captured(evil)), 'trusted');
    for (const from of [evil, hide(evil)])
      assert.equal(judged(from, boot, captured(evil)), 'untrusted cmdline_policy');
    const entry = recordedLog('debian13-sdboot-entry');
    const { index } = eventWhere(entry, ({ pcr }) => pcr === 12);
    const forbid = '{cmdline: {forbid: ["nothing"]}}';
    assert.equal(judged(entry, forbid, captured(entry)), 'trusted');
    const hidden = edited(entry, index, Buffer.from('0000000000000000', 'hex'));
    assert.equal(judged(hidden, forbid, captured(entry)), 'untrusted cmdline_policy');
  });

  it('are not evaded by a capture of that boot', () => {
    const entry = recordedLog('debian13-sdboot-entry');
    const { index } = eventWhere(entry, ({ pcr }) => pcr === 12);
    const data = dataOf(entry, index);
    data[0]! ^= 1;
    assert.throws(() => captured(edited(entry, index, data)), /does not have the text of a command line/);
  });
});
