import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import {
  builtInImaPolicies,
  type ImaArea,
  parseImaPolicy,
} from '../../../attest-server/formats/ima-policy.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';

const rootReads =
  'measure func=FILE_CHECK mask=^MAY_READ uid=0\nmeasure func=FILE_CHECK mask=^MAY_READ euid=0';
const everyFile: readonly ImaArea[] = ['exec', 'mmap', 'modules', 'kexec', 'policy', 'rootReads'];

/** A text, what it covers, and the lines of its doubts. */
const cases: readonly (readonly [string, string, readonly ImaArea[], readonly number[]])[] = [
  ['each hook by its name', 'measure func=BPRM_CHECK', ['exec'], []],
  ['what is mapped', 'measure func=MMAP_CHECK mask=MAY_EXEC', ['mmap'], []],
  ['hooks by older names', 'measure func=FILE_MMAP\nmeasure func=PATH_CHECK', ['mmap', 'rootReads'], []],
  ['modules, whatever may be done with them', 'measure func=MODULE_CHECK permit_directio', ['modules'], []],
  ['kexec only by kernel and initrd', 'measure func=KEXEC_KERNEL_CHECK', [], []],
  ['kexec', 'measure func=KEXEC_KERNEL_CHECK\nmeasure func=KEXEC_INITRAMFS_CHECK', ['kexec'], []],
  ['policies', 'measure func=POLICY_CHECK', ['policy'], []],
  ['critical data', 'measure func=CRITICAL_DATA', ['criticalData'], []],
  ['keys', 'measure func=KEY_CHECK', ['keys'], []],
  ['reads of root', rootReads, ['rootReads'], []],
  ['all files, but nothing that is no file', 'measure', everyFile, []],
  ['what runs, by a mask alone', 'measure mask=MAY_EXEC', ['exec', 'mmap'], []],
  ['what is written down otherwise', 'measure func=BPRM_CHECK template=ima-sig', ['exec'], []],
  ['the PCR of the list by its number', 'measure func=BPRM_CHECK pcr=10', ['exec'], []],
  ['words in any order', 'func=BPRM_CHECK \t measure', ['exec'], []],
  ['rules between comments', '# a comment\n\n  measure func=BPRM_CHECK\n#', ['exec'], []],
  ['nothing by other actions', 'appraise func=BPRM_CHECK\naudit func=BPRM_CHECK\nhash\ndont_hash', [], []],
  ['nothing that is left out first', 'dont_measure func=BPRM_CHECK\nmeasure func=BPRM_CHECK', [], [1]],
  ['what is left out too late', 'measure func=BPRM_CHECK\ndont_measure func=BPRM_CHECK', ['exec'], []],
  ['what another hook leaves out', 'dont_measure func=FILE_CHECK\nmeasure func=BPRM_CHECK', ['exec'], []],
  ['nothing after a rule that leaves out all', 'dont_measure\nmeasure', [], [1]],
  ['critical data after such a rule', 'dont_measure\nmeasure func=CRITICAL_DATA', ['criticalData'], []],
  ['what pseudo file systems hold not', 'dont_measure fsmagic=0x9fa0\nmeasure func=BPRM_CHECK', ['exec'], []],
  ['a magic number without 0x', 'dont_measure fsmagic=9FA0\nmeasure func=BPRM_CHECK', ['exec'], []],
  ['a file system by name', 'dont_measure fsname=proc\nmeasure func=BPRM_CHECK', ['exec'], []],
  ['tmpfs as a gap', 'dont_measure fsmagic=0x01021994\nmeasure func=BPRM_CHECK', ['exec'], [1]],
  ['overlay as a gap', 'dont_measure fsname=overlay\nmeasure func=BPRM_CHECK', ['exec'], [1]],
  ['nothing without ext4', 'dont_measure fsmagic=0xEF53\nmeasure func=BPRM_CHECK', [], [1]],
  ['nothing without a type', 'dont_measure obj_type=var_log_t\nmeasure func=BPRM_CHECK', [], [1]],
  ['nothing without a user', 'dont_measure uid=1000\nmeasure func=BPRM_CHECK', [], [1]],
  [
    'nothing where /proc has a condition',
    'dont_measure fsmagic=0x9fa0 x=1\nmeasure func=BPRM_CHECK',
    [],
    [1],
  ],
  ['nothing of one user', 'measure func=MODULE_CHECK uid=0', [], [1]],
  ['nothing of one owner', 'measure func=BPRM_CHECK fowner=0', [], [1]],
  ['nothing of one file system', 'measure func=BPRM_CHECK fsname=ext4', [], [1]],
  ['nothing of tmpfs alone', 'measure func=BPRM_CHECK fsname=tmpfs', [], [1]],
  ['nothing by a condition of a later kernel', 'measure func=BPRM_CHECK shiny=1', [], [1]],
  ['nothing by a word of a later kernel', 'measure func=BPRM_CHECK shiny', [], [1]],
  ['nothing by a hook of a later kernel', 'measure func=SHINY_CHECK', [], []],
  ['nothing by an unknown mask', 'measure func=BPRM_CHECK mask=MAY_SHINE', [], [1]],
  ['nothing by an unknown template', 'measure func=BPRM_CHECK template=shiny', [], [1]],
  ['nothing by the template of SHA-1', 'measure func=BPRM_CHECK template=ima', [], [1]],
  ['nothing by a mask that never fits', 'measure func=BPRM_CHECK mask=MAY_WRITE', [], []],
  ['nothing after an unknown mask', 'dont_measure mask=MAY_SHINE\nmeasure func=BPRM_CHECK', [], [1]],
  ['nothing that goes to another PCR', 'measure func=BPRM_CHECK pcr=11\nmeasure func=BPRM_CHECK', [], [1]],
  [
    'nothing that needs fs-verity',
    'measure func=BPRM_CHECK digest_type=verity\nmeasure',
    everyFile.slice(1),
    [1],
  ],
  ['only one label', 'measure func=CRITICAL_DATA label=selinux', [], [1]],
  ['only one keyring', 'measure func=KEY_CHECK keyrings=.ima|.evm', [], [1]],
  ['no reads that write, too', rootReads.replaceAll('^', ''), [], [1, 2]],
  ['no reads of who became root', 'measure func=FILE_CHECK mask=^MAY_READ uid=0', [], [1]],
  ['no reads of root, but of who became it', 'measure func=FILE_CHECK mask=^MAY_READ euid=0', [], [1]],
  ['reads of all', 'measure func=FILE_CHECK mask=^MAY_READ', ['rootReads'], []],
  ['one user, and then all', 'measure func=BPRM_CHECK uid=0\nmeasure func=BPRM_CHECK', ['exec'], []],
];

describe('an IMA policy', () => {
  for (const [what, text, covers, lines] of cases)
    it(`covers ${what}`, () => {
      const found = parseImaPolicy(text);
      assert.deepEqual(found.covers, covers);
      assert.deepEqual([...new Set(found.doubts.map(({ line }) => line))], lines);
    });

  const refused: readonly (readonly [string, string, string, string | undefined])[] = [
    ['a rule without an action', 'measure\nfunc=BPRM_CHECK', 'malformed', 'line 2'],
    ['a rule with two actions', 'measure dont_measure', 'malformed', 'line 1'],
    ['a hook twice', 'measure func=BPRM_CHECK func=MMAP_CHECK', 'malformed', 'line 1'],
    ['a mask twice', '\nmeasure mask=MAY_EXEC mask=MAY_READ', 'malformed', 'line 2'],
    ['a file that is none', '\u007fELF\u0000', 'malformed', 'line 1'],
    ['no rule', '# nothing\n', 'malformed', 'line 1'],
    ['nothing', '', 'malformed', 'line 1'],
    ['a text without end', '#'.repeat(300_000), 'too_large', 'policy'],
    ['rules without end', 'measure\n'.repeat(5000), 'too_large', 'line 4097'],
  ];
  for (const [what, text, code, field] of refused)
    it(`is refused with ${what}`, () =>
      assert.throws(
        () => parseImaPolicy(text),
        (error) => error instanceof Rejection && error.code === code && error.field === field,
      ));

  it('says for which areas something is left out', () => {
    const text =
      'dont_measure func=FILE_CHECK fsmagic=0x1021994\nmeasure func=BPRM_CHECK\nmeasure func=FILE_CHECK';
    assert.deepEqual(parseImaPolicy(text), {
      covers: ['exec', 'rootReads'],
      doubts: [{ line: 1, text: 'leaves out tmpfs (rootReads)' }],
    });
  });

  it('names the byte at which the line begins', () =>
    assert.throws(
      () => parseImaPolicy('# é\nfunc=BPRM_CHECK'),
      (error) => error instanceof Rejection && error.offset === 5,
    ));

  it('repeats words that no terminal obeys, and not for ever', () => {
    const [doubt] = parseImaPolicy(`measure func=BPRM_CHECK x=\u001b[2J${'y'.repeat(10_000)}`).doubts;
    assert.match(doubt?.text ?? '', /^measures only with x=\\u001b/);
    assert.ok((doubt?.text.length ?? 0) <= 256);
  });
});

describe('a policy that the kernel has built in', () => {
  const covered: Readonly<Record<string, readonly ImaArea[]>> = {
    tcb: ['exec', 'mmap', 'modules', 'policy', 'rootReads'],
    ima_tcb: ['exec', 'mmap', 'modules'],
    critical_data: ['criticalData'],
    appraise_tcb: [],
    secure_boot: [],
    fail_securely: [],
  };
  it('covers what Linux 6.12 measures by it', () =>
    assert.deepEqual(
      Object.fromEntries(Object.entries(builtInImaPolicies).map(([name, { covers }]) => [name, covers])),
      covered,
    ));

  it('leaves out tmpfs where it measures files', () => {
    for (const name of ['tcb', 'ima_tcb'])
      assert.ok(
        builtInImaPolicies[name]?.doubts.some(({ text }) => text.includes('tmpfs')),
        name,
      );
  });
});
