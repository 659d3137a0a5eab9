import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { runAssay } from '../attest-server/cli/cli-fixture.ts';

const root = join(import.meta.dirname, '../..');
const recordedLog = join(root, 'swtpm-fixtures/recorded/debian13-shim-grub/binary_bios_measurements');

const policyOf = (...lines: readonly string[]) =>
  [
    'apiVersion: assay.dev/v1',
    'kind: Policy',
    'groups:',
    '  - name: all',
    '    nodes: ["*"]',
    ...lines,
    '',
  ].join('\n');

const referenceOf = (name: string, digest: string) =>
  JSON.stringify({
    version: 1,
    name,
    group: 'all',
    state: 'active',
    expires: null,
    pcrs: {},
    revocations: [],
    events: [],
    captured: { by: 'test', node: 'node-1', at: '2026-11-26T00:00:00.000Z' },
    components: [
      { stage: 'kernel', scope: 'group', digests: { sha256: digest }, description: 'vmlinuz', pcr: 4 },
    ],
  });

describe('an error of a command that needs no server advises the right thing', () => {
  let cwd = '';
  before(() => {
    cwd = mkdtempSync(join(tmpdir(), 'assay-errors-'));
    const log = readFileSync(recordedLog);
    const write = (name: string, content: string | Buffer) => writeFileSync(join(cwd, name), content);
    write('README.md', '# A heading\n\nSome words, with a comma.\n');
    write('empty.bin', '');
    write('cut.bin', log.subarray(0, 2_000));
    write('unsupported.yaml', policyOf('    require: [identity, runtime]', '    reaction: evict'));
    write('text.yaml', policyOf('    boot: {cmdline: {forbid: "init="}}'));
    write('method.yaml', policyOf('    enrolment: [cloud]'));
    write('tab.yaml', 'groups:\n\t- name: all\n');
    write('a.json', referenceOf('a', 'ab'.repeat(32)));
    write('b.json', referenceOf('b', 'cd'.repeat(32)));
    write('other.json', '{"name": "something else"}');
    write('bad.csv', `node-1,${'ab'.repeat(32)}\nnode-2,zz\n`);
    write('long.csv', 'not a node name\n'.repeat(500));
    mkdirSync(join(cwd, 'folder'));
  });
  after(() => rmSync(cwd, { recursive: true }));

  const command = 4;
  const indented = (text: string) => `${' '.repeat(command)}${text}\n`;

  for (const [what, args, code, says] of [
    [
      'a value that this version does not have yet',
      ['policy', 'check', 'unsupported.yaml'],
      1,
      [':7: groups.0.reaction: not supported by this version'],
    ],
    [
      'a text where a list belongs',
      ['policy', 'check', 'text.yaml'],
      1,
      [':6: groups.0.boot.cmdline.forbid: not a list: write ["init="]'],
    ],
    [
      'an enrolment method that not every server offers',
      ['policy', 'check', 'method.yaml'],
      0,
      ['groups.0.enrolment: warning: cloud', 'a server in a cluster that has a cloudProgram'],
    ],
    ['a tab in YAML', ['policy', 'check', 'tab.yaml'], 1, ['tab.yaml:2:', 'Tabs']],
    ['a policy that is not there', ['policy', 'check', 'none.yaml'], 1, ['none.yaml does not exist']],
    [
      'an event log that is empty',
      ['eventlog', 'empty.bin'],
      1,
      ['empty.bin is empty', 'offset 0, field log', 'Copy it as root'],
    ],
    [
      'a bundle in place of an event log',
      ['eventlog', 'other.json'],
      1,
      ['other.json cannot be read as an event log', 'looks like JSON', indented('assay verify other.json')],
    ],
    ['a bundle that is none', ['verify', 'README.md'], 10, ['README.md is no bundle: it is not JSON']],
    ['JSON that is no bundle', ['verify', 'other.json'], 10, ['other.json is no bundle', 'version']],
    [
      'a folder without references',
      ['verify', 'a.json', '--references', 'folder'],
      1,
      ['folder holds no reference', '--references', indented('assay reference export NAME -f NAME.json')],
    ],
    [
      'a file that is no boot',
      ['boot', 'diff', './README.md', './empty.bin'],
      1,
      ['README.md cannot be read as an event log', 'a firmware log or an exported bundle'],
    ],
    [
      'a line of keys that is wrong',
      ['ek', 'import', 'bad.csv'],
      1,
      ['bad.csv:2: "zz"', 'nothing was imported: 1 faulty line', 'Correct the file'],
    ],
    [
      'a file that holds no keys',
      ['ek', 'import', 'long.csv'],
      1,
      ['long.csv:20: ', 'long.csv: and 480 more', 'Is that the right file?', 'node,digest'],
    ],
    [
      'a README in place of a reference',
      ['reference', 'import', 'README.md'],
      1,
      ['README.md is no reference', indented('assay reference export NAME -f NAME.json')],
    ],
    ['JSON that is no reference', ['reference', 'import', 'other.json'], 1, ['other.json is no reference']],
    [
      'a folder without a bundle',
      ['verify', 'folder'],
      1,
      ['folder is empty', indented('assay bundle NODE -f FILE')],
    ],
    ['a folder in place of a file', ['eventlog', 'folder'], 1, ['folder is a folder and no file']],
  ] as const)
    it(`names ${what}, and what to do`, async () => {
      const { code: ended, out, err } = await runAssay(args, { cwd });
      for (const part of says) assert.ok((out + err).includes(part), `${part} is not in:\n${out}${err}`);
      assert.equal(ended, code);
    });

  it('shows no line of a wrong file beyond the twentieth', async () => {
    const { err } = await runAssay(['ek', 'import', 'long.csv'], { cwd });
    assert.doesNotMatch(err, /long\.csv:21:/);
  });

  it('shows what can be read of a cut event log, and then the fault', async () => {
    const whole = JSON.parse((await runAssay(['eventlog', recordedLog, '-o', 'json'])).out);
    const { code, out, err } = await runAssay(['eventlog', 'cut.bin', '-o', 'json'], { cwd });
    const { error, events, ...more } = JSON.parse(out);
    assert.equal(code, 1);
    assert.equal(error.code, 'malformed');
    assert.ok(err.includes(`offset ${error.offset}, field ${error.field}: ${error.text}`), err);
    assert.ok(events.length > 1);
    assert.deepEqual(events, whole.events.slice(0, events.length));
    // What a part of a log leads to is what no machine quotes.
    assert.deepEqual(Object.keys(more), ['format', 'startupLocality', 'notes']);
    const table = await runAssay(['eventlog', 'cut.bin'], { cwd });
    assert.equal(table.code, 1);
    assert.match(table.out, new RegExp(`^crypto-agile log, of which ${events.length} events can be read\n`));
    assert.equal(table.out.trimEnd().split('\n').length, 2 + events.length);
    assert.ok(table.err.includes('cut.bin cannot be read as an event log: offset'));
  });

  it('ends with 10 where two references differ, and shows by which digests', async () => {
    const differ = await runAssay(['reference', 'diff', './a.json', './b.json'], { cwd });
    assert.equal(differ.code, 10);
    assert.match(differ.out, /- vmlinuz sha256:abababababab\n.*\+ vmlinuz sha256:cdcdcdcdcdcd\n/s);
    const { out, code } = await runAssay(['reference', 'diff', './a.json', './b.json', '-o', 'json'], {
      cwd,
    });
    assert.equal(code, 10);
    assert.ok(out.includes('ab'.repeat(32)) && out.includes('cd'.repeat(32)));
    assert.equal((await runAssay(['reference', 'diff', './a.json', './a.json'], { cwd })).code, 0);
  });

  it('keeps the shape of a rejected bundle for programs', async () => {
    const { code, out } = await runAssay(['verify', 'README.md', '-o', 'json'], { cwd });
    const { state, reasons } = JSON.parse(out);
    assert.deepEqual([code, state, reasons[0].code], [10, 'unknown', 'malformed']);
  });
});

describe('the user’s configuration that is wrong', () => {
  let home = '';
  const get = (change: Record<string, string> = {}, ...args: readonly string[]) =>
    runAssay([...args, 'get', 'nodes'], { env: { XDG_CONFIG_HOME: home, ...change }, cwd: home });
  const write = (text: string) => writeFileSync(join(home, 'assay', 'config.json'), text);
  before(() => {
    home = mkdtempSync(join(tmpdir(), 'assay-config-'));
    mkdirSync(join(home, 'assay'));
  });
  after(() => rmSync(home, { recursive: true }));

  it('is named where it is no JSON', async () => {
    write('{');
    const { code, err } = await get();
    assert.equal(code, 1);
    assert.ok(err.includes('config.json is not a configuration of assay') && err.includes('contexts'), err);
  });

  it('names the contexts that there are', async () => {
    write('{"contexts": {"home": {"server": "https://localhost:1"}}}');
    const { code, err } = await get({}, '--context', 'hoem');
    assert.equal(code, 2);
    assert.ok(err.includes('no context hoem') && err.includes('it has home'), err);
  });
});
