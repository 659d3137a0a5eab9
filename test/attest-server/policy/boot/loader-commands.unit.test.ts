import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { comparedCommands } from '../../../../attest-server/policy/boot/loader-commands.ts';
import type { MaskName } from '../../../../attest-server/policy/boot/named-masks.ts';

/** Commands of one boot, as they are compared. */
function compared(texts: readonly string[], masks: readonly MaskName[] = []): readonly string[] {
  const commands = texts.map((text) => ({ pcr: 8, kind: 'command', text }));
  return [...comparedCommands(commands, masks).values()];
}

const uuid = 'd4b018ac-5304-4aac-b870-4060a39e2af1';

describe('a disk in a command of GRUB’s', () => {
  it('is called by the place in which the boot named it first, and keeps its partition', () => {
    const commands = [
      'set prefix=(hd3,gpt2)/grub2',
      'load_env -f (hd3,gpt2)/grub2/grubenv',
      'set root=hd1,gpt1',
    ];
    assert.deepEqual(compared(commands), [
      'set prefix=(<hd1>,gpt2)/grub2',
      'load_env -f (<hd1>,gpt2)/grub2/grubenv',
      'set root=<hd2>,gpt1',
    ]);
  });

  it('is another one where two of them changed places in one command', () => {
    const twoDisks = (last: string) => compared(['set a=(hd0,gpt1)/x', 'set b=(hd1,gpt1)/x', last]).at(-1);
    assert.notEqual(twoDisks('set c=(hd0,gpt1)/y'), twoDisks('set c=(hd1,gpt1)/y'));
    assert.equal(twoDisks('set c=(hd1,gpt1)/y'), 'set c=(<hd2>,gpt1)/y');
  });

  it('is of its kind: a disc is no hard disk', () => {
    assert.notDeepEqual(compared(['set root=cd0']), compared(['set root=hd0']));
    assert.deepEqual(compared(['set root=cd1', 'set x=hd7']), ['set root=<cd1>', 'set x=<hd1>']);
  });

  it('is named by commands that count alone, so that a menu and tests change no number', () => {
    const menu = ['[ -f (hd5,gpt1)/x ]', 'menuentry x { set root=hd4,gpt1 }', 'echo hd3 hd2'];
    assert.equal(
      compared([...menu, 'configfile (hd1,gpt1)/grub.cfg']).at(-1),
      'configfile (<hd1>,gpt1)/grub.cfg',
    );
  });

  const kept = [
    ['a path', 'source /dev/hd0/x'],
    ['another word', 'set x=chd0,gpt1'],
    ['an argument for what is started (module2)', 'module2 /vmlinuz root=hd0,gpt1 hd0 (hd0)'],
    ['an argument for what is started (multiboot)', 'multiboot /xen x=(hd0,gpt1)'],
    ['the value of another word', 'source /x root=hd0,gpt1'],
    ['a server', 'source (tftp,10.42.252.11)/grub/grub.cfg'],
  ] as const;
  for (const [what, command] of kept)
    it(`is none where it is ${what}`, () => assert.deepEqual(compared([command]), [command]));

  it('is one in the path of what is started', () =>
    assert.deepEqual(compared(['module2 (hd0,gpt1)/vmlinuz x=(hd0)']), [
      'module2 (<hd1>,gpt1)/vmlinuz x=(hd0)',
    ]));

  it('that a search right behind replaces is as it was when somebody made the configuration', () => {
    const search = `search --no-floppy --fs-uuid --set=root ${uuid}`;
    const made = (disk: string) => ['set prefix=(hd0,gpt1)/grub', `set root=${disk}`, '[ xy = xy ]', search];
    assert.deepEqual(compared(made('hd1,gpt2')), compared(made('hd0,gpt2')));
    assert.notDeepEqual(compared(made('hd1,gpt2')), compared(made('hd1,gpt3')));
    const other = search.replace('root', 'boot');
    const kept = (disk: string) => ['set prefix=(hd0,gpt1)/grub', `set root=${disk}`, other];
    assert.notDeepEqual(compared(kept('hd1,gpt2')), compared(kept('hd0,gpt2')));
  });
});

describe('a hint where to search', () => {
  const bare = `search --no-floppy --fs-uuid --set=root <id>`;
  const cases = [
    `search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt2 --hint-efi=hd0,gpt2 --hint-baremetal=ahci0,gpt2 ${uuid}`,
    `search --no-floppy --fs-uuid --set=root --hint=lvmid/a/b ${uuid}`,
    `search --no-floppy --fs-uuid --set=root --hint hd0,gpt1 ${uuid}`,
    `search --no-floppy --fs-uuid --set=root ${uuid}`,
  ];
  for (const command of cases)
    it(`does not count: ${command}`, () => assert.deepEqual(compared([command]), [bare]));

  it('does not count behind what is searched', () => {
    assert.deepEqual(compared([`search.fs_uuid ${uuid} root hd0,gpt3`]), ['search.fs_uuid <id> root']);
    assert.deepEqual(compared([`search.fs_uuid ${uuid} root`]), ['search.fs_uuid <id> root']);
  });

  it('is not what is searched, nor the variable that is set', () => {
    const others = [
      bare.replace('root', 'boot'),
      'search --file --set=root /x',
      `search --hint ${uuid} --set=root`,
    ];
    for (const other of others) assert.notDeepEqual(compared([other]), [bare]);
    assert.deepEqual(compared(['search.file hd0 root hd0']), ['search.file <hd1> root']);
  });

  it('is none in another command', () => assert.deepEqual(compared(['x --hint=hd0']), ['x --hint=hd0']));
});
