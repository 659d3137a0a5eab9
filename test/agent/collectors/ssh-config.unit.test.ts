import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { resolveBelow } from '../../../agent/collectors/below-root.ts';
import { parseListening, socketText } from '../../../agent/collectors/listening.ts';
import { parseOptionPorts, readSsh } from '../../../agent/collectors/ssh.ts';
import { parseSocketUnit, readSocketPorts } from '../../../agent/collectors/ssh-sockets.ts';
import { parseSshdConfig, readSshdPorts } from '../../../agent/collectors/sshd-config.ts';

const heading =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
const line = (local: string, state: string, inode: number) =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0000000000000000 100 0 0 10 0\n`;

describe('where SSH is configured to listen', () => {
  let root = '';
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'assay-ssh-root-'));
  });
  afterEach(() => rm(root, { recursive: true }));

  async function put(path: string, content: string | Buffer): Promise<void> {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
  async function link(path: string, target: string): Promise<void> {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await symlink(target, join(root, path));
  }
  const sshd = async () => (await readSshdPorts(root)).map(({ port, source }) => `${port} ${source}`);
  const systemd = async () => (await readSocketPorts(root)).map(({ port, source }) => `${port} ${source}`);

  it('is nowhere but 22, where nothing is configured', async () => {
    assert.deepEqual([await sshd(), await systemd()], [[], []]);
  });

  const main = 'etc/ssh/sshd_config';
  const configs: readonly (readonly [string, string, readonly number[]])[] = [
    ['each Port counts', 'Port 2222\nport 2200\n', [2222, 2200]],
    [
      'with an equals sign, quotes, blanks and a comment',
      ' Port = "2222" # the other one\nPORT=2200\r\n',
      [2222, 2200],
    ],
    [
      'an address with a port',
      'ListenAddress 10.0.0.1:2222\nListenAddress [::1]:2200\nListenAddress host:2022\n',
      [2222, 2200, 2022],
    ],
    ['an address without one', 'ListenAddress 10.0.0.1\nListenAddress ::\nListenAddress [fe80::1]\n', []],
    ['in a routing domain', 'ListenAddress 0.0.0.0:2222 rdomain 4\n', [2222]],
    ['by the name of the service', 'Port ssh\n', [22]],
    ['not what is commented out', '#Port 2222\n  # Port 2222\n', []],
    [
      'not what is under a condition, as sshd refuses it there',
      'Match User a\n  Port 2222\nMatch Address 10.0.0.0/8\n Port 2223\n',
      [],
    ],
    ['but under Match all', 'Match User a\n X11Forwarding no\nMatch all\n  Port 2222\n', [2222]],
  ];
  for (const [what, text, ports] of configs)
    it(`is read as sshd reads it: ${what}`, async () => {
      await put(main, text);
      assert.deepEqual(
        await sshd(),
        ports.map((port) => `${port} /${main}`),
      );
    });

  it('is in the configuration of the vendor, too', async () => {
    await put('usr/etc/ssh/sshd_config', 'Port 2222\n');
    assert.deepEqual(await sshd(), ['2222 /usr/etc/ssh/sshd_config']);
  });

  it('is in the files that are included too, in each folder, to any depth that sshd takes', async () => {
    await put(main, 'Include /etc/ssh/sshd_config.d/*.conf more/[ab].conf\nPort 22\n');
    await put('etc/ssh/sshd_config.d/50-a.conf', 'Port 2222\n');
    await put('etc/ssh/sshd_config.d/20-b.conf', 'Match User x\nInclude never.conf\nPort 1\n');
    await put('etc/ssh/sshd_config.d/.hidden.conf', 'Port 2\n');
    await put('etc/ssh/sshd_config.d/old.bak', 'Port 3\n');
    await put('etc/ssh/never.conf', 'Port 4\n');
    await put('etc/ssh/more/a.conf', 'Include deeper.conf\n');
    await put('etc/ssh/deeper.conf', 'Port 2022\n');
    assert.deepEqual(await sshd(), [
      '22 /etc/ssh/sshd_config',
      '2222 /etc/ssh/sshd_config.d/50-a.conf',
      '2022 /etc/ssh/deeper.conf',
    ]);
    await put('etc/ssh/deeper.conf', 'Include deeper.conf\n');
    await assert.rejects(sshd());
  });

  it('is never nowhere, where a configuration is garbage, too large or leads out of sight', async () => {
    for (const garbage of [
      'Port',
      'Port 0',
      'Port 65536',
      'Port x',
      'ListenAddress 0.0.0.0:y',
      'Port 22\0',
      '#'.repeat(140_000),
    ]) {
      await put(main, garbage);
      await assert.rejects(sshd(), Error, garbage.slice(0, 20));
      const { unread, listening } = await readSsh(root);
      assert.deepEqual([Object.keys(unread).sort(), listening], [['listening', 'ssh'], undefined]);
    }
    await rm(join(root, main));
    await chmod(join(root, 'etc/ssh'), 0);
    await assert.rejects(sshd());
    await chmod(join(root, 'etc/ssh'), 0o755);
    await mkdir(join(root, main));
    await assert.rejects(sshd());
    await rm(join(root, main), { recursive: true });
    await link(main, '/etc/static/sshd_config');
    await assert.rejects(sshd());
    await put('etc/static/sshd_config', 'Port 2222\n');
    assert.deepEqual(await sshd(), [`2222 /${main}`]);
    await put(
      'etc/static/sshd_config',
      `Include ${Array.from({ length: 200 }, (_, i) => `${i}.conf`).join(' ')}\n`,
    );
    await assert.rejects(sshd());
  });

  const unit = 'usr/lib/systemd/system/ssh.socket';

  it('is in the socket units of systemd, with their drop-ins', async () => {
    await put(
      unit,
      '[Unit]\nListenStream=1\n[Socket]\nListenStream=22\nListenStream = 0.0.0.0:2222\nListenStream=[::]:2200\nAccept=no\n',
    );
    assert.deepEqual(await systemd(), [`22 /${unit}`, `2222 /${unit}`, `2200 /${unit}`]);
    await put(
      'run/systemd/generator/ssh.socket.d/addresses.conf',
      '[Socket]\nListenStream=\nListenStream=0.0.0.0:2022\n',
    );
    assert.deepEqual(await systemd(), ['2022 /run/systemd/generator/ssh.socket.d/addresses.conf']);
    await put('etc/systemd/system/ssh.socket.d/z.conf', '[Socket]\nListenStream=4022\n');
    await put('etc/systemd/system/ssh.socket.d/addresses.conf', '# of the administrator\n');
    assert.deepEqual(
      (await systemd()).map((text) => text.split(' ')[0]),
      ['22', '2222', '2200', '4022'],
    );
  });

  it('is in the unit that wins, in none that is masked, and in those of other names for SSH', async () => {
    await put(unit, '[Socket]\nListenStream=22\n');
    await put('etc/systemd/system/ssh.socket', '[Socket]\nListenStream=2222\n');
    await put(
      'usr/lib/systemd/system/sshd-unix-local.socket',
      '[Socket]\nListenStream=/run/ssh-unix-local/socket\nListenStream=vsock::22\nListenStream=@abstract\n',
    );
    await put('usr/lib/systemd/system/dropbear.socket', '[Socket]\nListenStream=2022\n');
    await put('usr/lib/systemd/system/other.socket', '[Socket]\nListenStream=80\n');
    assert.deepEqual(
      (await systemd()).map((text) => text.split(' ')[0]),
      ['2222', '2022'],
    );
    await rm(join(root, 'etc/systemd/system/ssh.socket'));
    await link('etc/systemd/system/ssh.socket', '/dev/null');
    assert.deepEqual(
      (await systemd()).map((text) => text.split(' ')[0]),
      ['2022'],
    );
    await rm(join(root, 'etc/systemd/system/ssh.socket'));
    await link('etc/systemd/system/ssh.socket', '/somewhere/else');
    await assert.rejects(systemd());
    await put(unit, '[Socket]\nListenStream=what\n');
    await rm(join(root, 'etc/systemd/system/ssh.socket'));
    await assert.rejects(systemd());
  });

  it('is in the options of start scripts', () => {
    assert.deepEqual(parseOptionPorts('SSHD_OPTS="-p 2222"\n#SSHD_OPTS="-p 1"\n'), [2222]);
    assert.deepEqual(parseOptionPorts('OPTIONS="-u0 -o Port=2200"\n'), [2200]);
    assert.deepEqual(
      parseOptionPorts('DROPBEAR_PORT=2022\nDROPBEAR_EXTRA_ARGS="-p 10.0.0.1:2023"\n'),
      [2022, 2023],
    );
    assert.deepEqual(parseOptionPorts('# SSHD_OPTS=\nSSHD_OPTS=\n'), []);
    assert.deepEqual(parseOptionPorts('SSHD_OPTS="-oPort=2218 -Dp 2219"'), [2218, 2219]);
  });

  it('is found by links as the node follows them, which never lead out of its root', async () => {
    await link('a', '/b/c');
    await link('b', '../../../d');
    assert.equal(await resolveBelow(root, 'a/e'), join(root, 'd/c/e'));
    assert.equal(await resolveBelow(root, '../../etc/x'), join(root, 'etc/x'));
    await link('round', '/round');
    await assert.rejects(resolveBelow(root, 'round'));
  });

  it('is any text, which gives ports or an error', () => {
    const words = fc.constantFrom(
      'Port',
      'ListenAddress',
      'Match',
      'all',
      'Include',
      '=',
      ' ',
      '\n',
      '"',
      '22',
      '[::]:',
      '#',
      '[Socket]',
      'ListenStream=',
      '\\\n',
      '*',
    );
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(words).map((some) => some.join(' ')),
      fc.array(words).map((some) => some.join('')),
    );
    const isPort = (port: number) => assert.ok(Number.isInteger(port) && port >= 1 && port <= 65_535);
    fc.assert(
      fc.property(text, (given) => {
        for (const parse of [
          () => parseSshdConfig(given, 'x').words,
          () => parseSocketUnit(given, 'x').ports,
          () => parseOptionPorts(given),
          () => parseListening(heading + given, 4).map(({ port }) => port || 1),
        ])
          try {
            parse().forEach(isPort);
          } catch (error) {
            assert(
              error instanceof Error &&
                !(error instanceof assert.AssertionError) &&
                !(error instanceof TypeError),
            );
          }
      }),
    );
  });
});

describe('the table of TCP sockets', () => {
  it('gives those that listen, whatever their address is', () => {
    const four =
      heading +
      line('00000000:0016', '0A', 11) +
      line('0100007F:08AE', '0A', 12) +
      line('0100007F:0050', '01', 13);
    assert.deepEqual(parseListening(four, 4).map(socketText), ['0.0.0.0:22', '127.0.0.1:2222']);
    const six =
      heading + line(`${'0'.repeat(32)}:0016`, '0A', 11) + line(`${'0'.repeat(24)}01000000:08AE`, '0A', 12);
    assert.deepEqual(parseListening(six, 6).map(socketText), ['[::]:22', '[::1]:2222']);
    assert.deepEqual(
      parseListening(four, 4).map(({ inode }) => inode),
      ['11', '12'],
    );
    assert.deepEqual(parseListening(heading, 4), []);
  });

  it('is never empty where it is none, cut short or of another form', () => {
    const good = line('00000000:0016', '0A', 11);
    for (const text of [
      '',
      '\n',
      good,
      heading.trimEnd(),
      `${heading}${good.slice(0, 40)}`,
      `${heading}\n`,
      `${heading}   0: x\n`,
      heading + line('000000:0016', '0A', 1),
      heading + line('00000000:16', '0A', 1),
      heading + good.replace(' 11 ', ' x '),
    ])
      assert.throws(() => parseListening(text, 4), Error, JSON.stringify(text));
    assert.throws(() => parseListening(heading + good, 6));
  });
});
