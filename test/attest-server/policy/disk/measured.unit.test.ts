import assert from 'node:assert/strict';
import { before, describe, it } from 'mocha';
import type { AspectJudgement } from '../../../../attest-server/policy/aspect.ts';
import { disk } from '../../../../attest-server/policy/disk/disk.ts';
import { isProvenList } from '../../../../attest-server/verify/ima/proven-list.ts';
import type { Proven } from '../../../../attest-server/verify/proven.ts';
import type { DiskPart } from '../../../../attest-server/wire/disk.ts';
import { deviceOtherwise, group, judgedNode, mappingOf, recordedPart } from './made-disk.ts';
import {
  cryptLine,
  linearLine,
  proofWithMappings,
  type ToldMapping,
  tableInUse,
} from './measured-mappings.ts';

describe('a mapping of the device mapper that the kernel measured', () => {
  let part: DiskPart;
  let name: string;
  let uuid: string;
  before(async () => {
    part = await recordedPart('01-luks2');
    const mapping = part.devices.find((device) => device.name === 'dm-0')?.mapping;
    ({ name = '', uuid = '' } = mapping ?? {});
  });
  const judge = (proven: Proven, rules?: unknown): AspectJudgement =>
    disk
      .prepare(disk.rules(rules), { group, references: [], remembers: false })
      .judge(proven, judgedNode(), 0);
  const found = ({ findings }: AspectJudgement) => findings.map(({ code, source }) => `${code} ${source}`);
  const used = (...lines: string[]) => tableInUse(name, uuid, '253:0', ...lines);
  const good = cryptLine('aes-xts-plain64', 64);
  const live = (table: string) => deviceOtherwise(part, 'dm-0', mappingOf(name, uuid, table));
  const live128 = '0 491520 crypt aes-xts-plain64 :16:logon:cryptsetup:x 0 254:48 32768';

  it('is told by the list as a kernel writes it', () => {
    const { ima } = proofWithMappings(part, used(good));
    assert.ok(isProvenList(ima));
    const [only] = ima.mappings;
    assert.deepEqual([only?.name, only?.state, only?.isOnlyTable], [name, 'active', true]);
  });

  /** What the kernel told, what the node says, and what is found of it by whose word. */
  const cases: readonly (readonly [
    string,
    () => readonly ToldMapping[],
    () => DiskPart,
    readonly string[],
  ])[] = [
    ['is right where both say that it encrypts', () => used(good), () => part, []],
    [
      'is not encrypted where the node alone says so',
      () => used(linearLine),
      () => part,
      ['mount_not_encrypted tpm'],
    ],
    [
      'is not encrypted where it is so in part alone',
      () => used(good, linearLine),
      () => part,
      ['mount_not_encrypted tpm'],
    ],
    [
      'encrypts nothing by a null cipher, whatever the node says',
      () => used(cryptLine('cipher_null-ecb', 0)),
      () => part,
      ['luks_null_cipher tpm'],
    ],
    [
      'encrypts nothing without a key',
      () => used(cryptLine('aes-xts-plain64', 0)),
      () => part,
      ['luks_null_cipher tpm'],
    ],
    [
      'has the cipher that was measured, by which the header is wrong',
      () => used(cryptLine('serpent-xts-plain64', 64)),
      () => part,
      ['luks_cipher tpm', 'luks_header_changed host'],
    ],
    [
      'has the key that was measured',
      () => used(cryptLine('capi:xts(aes)-plain64', 16)),
      () => part,
      ['luks_cipher tpm', 'luks_header_changed host'],
    ],
    [
      'has a cipher that no entry names',
      () => used(cryptLine('', 64)),
      () => part,
      ['luks_cipher tpm', 'luks_header_changed host'],
    ],
    [
      'is as the node says against itself',
      () => used(good),
      () => live('0 491520 linear 254:48 0'),
      ['mount_not_encrypted host'],
    ],
    [
      'has a table where the node gives none',
      () => used(linearLine),
      () => deviceOtherwise(part, 'dm-0', { mapping: { name, uuid, table: null } }),
      ['mount_not_encrypted tpm'],
    ],
    [
      'is as the node says where it has another name',
      () => tableInUse('other', uuid, '253:0', linearLine),
      () => part,
      [],
    ],
    [
      'is as the node says where it has another uuid',
      () => tableInUse(name, 'x', '253:0', linearLine),
      () => part,
      [],
    ],
    [
      'is as the node says where it has other numbers',
      () => tableInUse(name, uuid, '253:1', linearLine),
      () => part,
      [],
    ],
    ['is as the node says where it was only loaded', () => used(linearLine).slice(0, 1), () => part, []],
    ['is as the node says where no entry shows its table', () => used(linearLine).slice(1), () => part, []],
    [
      'is as the node says where another table is in force than the one that was told',
      () => [...used(good).slice(0, 1), ...used(linearLine).slice(1)],
      () => live(live128),
      ['luks_cipher host', 'luks_header_changed host'],
    ],
    // The kernel tells no second time what it told: the last entry is not what is in force.
    [
      'is as the node says where it had another table: one that encrypts last',
      () => [...used(linearLine), ...used(good), ...used(linearLine)],
      () => live(live128),
      ['luks_cipher host', 'luks_header_changed host'],
    ],
    [
      'is as the node says where it had another table: one that does not last',
      () => [...used(good), ...used(linearLine), ...used(good)],
      () => part,
      [],
    ],
  ];
  for (const [what, told, shown, codes] of cases)
    it(what, () => {
      const judgement = judge(proofWithMappings(shown(), told()));
      assert.deepEqual(found(judgement), codes);
      assert.equal(judgement.affirmed, codes.length === 0);
      // Where the path leads is the node's word all the same.
      assert.equal(judgement.source, 'host');
    });

  it('is as the node says once another kernel was started by kexec', () => {
    assert.deepEqual(found(judge(proofWithMappings(part, used(linearLine), 2))), []);
  });

  it('is as the node says where so many were told that its first table is forgotten', () => {
    const others = Array.from({ length: 1500 }, (_, minor) =>
      tableInUse(`other${minor}`, '', `253:${minor + 1}`, good),
    ).flat();
    const told = [...used(linearLine), ...others, ...used(cryptLine('cipher_null-ecb', 0))];
    assert.deepEqual(found(judge(proofWithMappings(part, told))), []);
  });

  it('is wanted again in each answer, and no list where the kernel measures none', () => {
    assert.deepEqual(judge(proofWithMappings(part, used(good))).wants, ['ima']);
    assert.equal(judge(proofWithMappings(part, [])).wants, undefined);
  });

  it('goes on with the list from where it was, where a mapping rests on it', () => {
    const judging = disk.prepare(disk.rules(undefined), { group, references: [], remembers: true });
    const node = judgedNode();
    const measured = proofWithMappings(part, used(good));
    judging.judge(measured, node, 0);
    assert.ok(isProvenList(measured.ima));
    assert.equal(judging.judgedTo?.(node.name), measured.ima.head);
    judging.judge(proofWithMappings(part, []), node, 0);
    assert.equal(judging.judgedTo?.(node.name), null);
  });

  it('is shown as measured among the layers', () => {
    const [finding] = judge(proofWithMappings(part, used(cryptLine('serpent-xts-plain64', 64)))).findings;
    assert.ok(
      finding?.detail?.some((line) =>
        line.includes('serpent-xts-plain64, 512 bit, as the kernel measured it'),
      ),
    );
  });

  it('is judged anew once it was measured otherwise, though the part is the same', () => {
    const remembering = disk.prepare(disk.rules(undefined), { group, references: [], remembers: true });
    const node = judgedNode();
    const first = remembering.judge(proofWithMappings(part, used(good)), node, 0);
    const second = remembering.judge(proofWithMappings(part, used(cryptLine('cipher_null-ecb', 0))), node, 0);
    const third = remembering.judge(proofWithMappings(part, used(good)), node, 0);
    assert.deepEqual([first, second, third].map(found), [[], ['luks_null_cipher tpm'], []]);
    assert.equal(remembering.judge(proofWithMappings(part, used(good)), node, 0), third);
  });
});
