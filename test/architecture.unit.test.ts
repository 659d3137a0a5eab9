import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, normalize } from 'node:path';
import { describe, it } from 'mocha';
import { aspects } from '../attest-server/wire/verdict.ts';

const root = join(import.meta.dirname, '..');

/**
 * Who may import whom. The first rule whose folder holds a file applies to it. `values` and `types` are
 * folders or files of this repository; what may be imported as a value may be imported as a type.
 */
interface Rule {
  readonly room: string;
  readonly values: readonly string[];
  readonly types?: readonly string[];
  /** Packages and built-ins; without it, any. */
  readonly packages?: readonly string[];
  /** No input, output, clock, randomness, environment or logging. */
  readonly pure?: true;
}

const server = 'attest-server';
/** What agent and server say to one another; documents, and words of the server; answers of the API; configuration. */
const wire = `${server}/wire`;
const formats = `${server}/formats`;
const api = `${server}/api`;
const settings = `${server}/settings`;
const runner = 'agent/node-tpm2';
const rooms = (...names: readonly string[]): readonly string[] => names.map((name) => `${server}/${name}`);
/** Each has one opener, in `open.ts`, which server.ts calls. */
const openedRooms = rooms(
  ...[
    'attest',
    'audit',
    'backups',
    'channel',
    'custody',
    'declared',
    'enrolment',
    'events',
    'evidence',
    'http',
    'in-force',
    'keys',
    'references',
    'roots',
  ],
  ...['door', 'health', 'kubernetes', 'marking', 'presence', 'state', 'store', 'telemetry', 'tls', 'webhook'],
);
/** What one room needs of another is a port that it declares, and server.ts fills: types at most. */
const types = [...openedRooms, ...rooms('verify', 'policy')];
/** The loose files that others may import; what these alone use may lie beside them. */
const looseFiles = ['main', 'config', 'server', 'version'].map((name) => `${server}/${name}.ts`);
/** They join the rooms of their side. The commands do what is asked of a server that does not run. */
const compositionRoots = [
  'agent/main.ts',
  ...[
    'main',
    'server',
    ...['audit-key', 'check', 'check-keys', 'check-store'].map((name) => `commands/${name}`),
  ].map((name) => `${server}/${name}.ts`),
];
const rules: readonly Rule[] = [
  { room: wire, values: [], packages: ['zod', 'node:crypto'] },
  // Files of people are YAML; nothing that a peer sends is.
  { room: `${formats}/yaml-offset`, values: [], packages: ['yaml'] },
  // A reference or a bundle holds what evidence holds.
  { room: formats, values: [wire], packages: ['zod', 'node:crypto'] },
  { room: api, values: [wire, formats], packages: ['zod'] },
  { room: `${settings}/config-file`, values: [settings, `${formats}/yaml-offset`], packages: ['yaml'] },
  { room: `${settings}/logger`, values: [], types: [settings], packages: ['pino'] },
  // A key that is misspelt is answered as any other word is.
  { room: settings, values: [`${formats}/nearest`], packages: ['zod'] },
  // Unpacks what a node sent, in memory.
  {
    room: `${server}/verify/initrd`,
    values: [wire, formats],
    packages: ['node:crypto', 'node:util', 'node:zlib'],
    pure: true,
  },
  {
    room: `${server}/verify`,
    values: [wire, formats, `${server}/verify/initrd/packed-manifest`],
    packages: ['node:crypto', 'lru-cache'],
    pure: true,
  },
  // Reads the texts of the shipped policies, once.
  { room: `${server}/policy/shipped`, values: rooms('policy'), packages: ['node:fs', 'node:path'] },
  // Networks and recipients, as texts: nothing of it connects.
  { room: `${server}/policy/keys`, values: [], packages: ['node:net', '@scure/base'], pure: true },
  {
    room: `${server}/policy`,
    values: [wire, formats, `${server}/policy/keys`],
    types: [`${server}/verify`],
    packages: ['node:crypto', 'zod', 'yaml', 'lru-cache'],
    pure: true,
  },
  { room: `${server}/door`, values: [wire], types },
  // How a connection ended is said in words that other rooms show.
  { room: `${server}/channel`, values: [wire, `${formats}/silence`], types },
  { room: `${server}/health`, values: [formats], types },
  { room: `${server}/presence`, values: [formats], types },
  ...rooms('events', 'marking').map((room) => ({ room, values: [wire, formats], types })),
  { room: `${server}/webhook`, values: [formats], types },
  { room: `${server}/telemetry`, values: [wire, formats], types },
  // The errors of the port that it fills are those of marking, which declares it.
  { room: `${server}/kubernetes`, values: [wire, formats, `${server}/marking/ports`], types },
  // Its lock is that of node-tpm2.
  {
    room: `${server}/state`,
    values: [...['server-fault', 'database-damage'].map((file) => `${formats}/${file}`), runner],
    types,
  },
  { room: `${server}/custody`, values: [wire, formats, `${server}/state`, runner], types },
  { room: `${server}/tls`, values: [wire, `${server}/state`], types: [formats, ...types] },
  ...rooms('audit', 'store').map((room) => ({ room, values: [wire, formats, `${server}/state`], types })),
  { room: `${server}/backups`, values: [formats, `${server}/state`], types },
  { room: `${server}/http`, values: [wire, formats, api, `${server}/state`], types },
  { room: `${server}/enrolment`, values: [wire, formats, `${server}/verify`, runner], types },
  { room: `${server}/evidence`, values: [wire, formats, `${server}/verify`], types },
  // What is sealed to a TPM is sealed here, and so is what a person recovers.
  {
    room: `${server}/keys`,
    values: [wire, ...rooms('verify', 'policy')],
    types: [formats, ...types],
    packages: ['node:crypto', 'node:timers/promises', 'age-encryption', 'p-limit'],
  },
  { room: `${server}/roots`, values: [`${server}/verify`], types },
  ...rooms('attest', 'declared', 'in-force').map((room) => ({
    room,
    values: [wire, formats, ...rooms('verify', 'policy')],
    types,
  })),
  {
    room: `${server}/references`,
    values: [wire, formats, ...rooms('verify', 'policy')],
    types: [`${api}/candidates-api`, ...types],
  },
  // A doctor finds what the server's own check finds.
  {
    room: `${server}/cli/offline/doctor`,
    values: [
      `${server}/cli`,
      ...[wire, api],
      ...['commands/check', 'read-settings'].map((file) => `${server}/${file}`),
    ],
  },
  {
    room: `${server}/cli/offline`,
    values: [
      `${server}/cli`,
      ...[wire, formats, api],
      ...rooms('verify', 'policy', 'audit', 'declared', 'roots', 'kubernetes', 'marking'),
      // What shows that a database is damaged shows it to a server that opens it, too.
      ...[`${server}/state/file-damage`, 'agent/node-tpm2'],
    ],
  },
  { room: `${server}/cli`, values: [wire, formats, api, `${server}/cli/offline`, `${server}/version`] },
  // Loose files; those that join rooms are in the list below.
  {
    room: server,
    values: [`${wire}/limits`, formats, settings, ...rooms('policy/file', 'policy/policy', 'policy/shipped')],
    types,
  },
  { room: 'agent/node-tpm2', values: [] },
  // A socket of this machine, and nothing of a network.
  {
    room: 'agent/tpm-broker',
    values: [
      runner,
      `${settings}/settings`,
      ...[
        'agent-error',
        'guarded-socket',
        'handed-over',
        'health/health-socket',
        'logger',
        'tcti-setting',
      ].map((file) => `agent/${file}`),
    ],
    packages: ['zod', 'node:net', 'node:path', 'node:timers/promises'],
  },
  // What a kubelet does to a private folder it does to that of both sides.
  // A digest that the firmware will measure is computed as the server computes it.
  {
    room: 'agent',
    values: ['agent', wire, settings, `${server}/state/volume-group`, `${server}/verify/boot/pe-image`],
  },
  // Programs of their own: of the server they know how a TPM's endorsement key looks.
  { room: 'manifests/cloud', values: [`${server}/verify/endorsement-template`, `${server}/version`] },
  // Run by people, and by nobody else: it knows with which flags programs start, and which packages are in them.
  {
    room: 'manifests/images',
    values: [runner, ...['agent-flags', 'bundle'].map((file) => `swtpm-fixtures/set-up/${file}.ts`)],
  },
  // What is in a package is in an image, too.
  { room: 'manifests/debian', values: ['manifests/images'] },
  { room: 'manifests/npm', values: [runner, 'manifests/images', 'swtpm-fixtures/set-up/bundle.ts'] },
  {
    room: 'swtpm-fixtures',
    values: [
      'agent/node-tpm2',
      'agent/collectors',
      'agent/inspect',
      // An attacker who keeps the sealed answer of a server.
      ...['agent/unlock', 'agent/identity', 'agent/state-dir'],
      `${server}/verify/tpm`,
      `${server}/verify/boot/pe-image`,
      ...[wire, `${formats}/marks`, settings],
      `${server}/server.ts`,
      `${server}/config.ts`,
    ],
  },
];

const aspectRooms = aspects.map((name) => `${server}/policy/${name}`);

/** Besides the list: who asks what boots alone have, and the pipeline, which knows the volumes of all nodes. */
const importersOfAspects: readonly RegExp[] = [
  /^attest-server\/policy\/(capture|reference-diff|reference-reach|draft\/(observation|simulation))\.ts -> \S+\/boot$/,
  /^attest-server\/references\/next-boots\.ts -> \S+\/boot$/,
  /^attest-server\/cli\/offline\/\S+ -> \S+\/boot$/,
  /^attest-server\/attest\/shared-volumes\.ts -> \S+\/disk$/,
  /^attest-server\/keys\/formatting\.ts -> \S+\/disk$/,
];

/** Files that may start a process, and why each is not the one runner of node-tpm2. */
const startersOfProcesses: readonly string[] = ['agent/node-tpm2/run.ts'];

/** Beside the store's dialect: what verifies a copied database, without the server's code and without writing. */
const readersOfDatabases: readonly string[] = ['database-file', 'log-in-database'].map(
  (name) => `${server}/cli/offline/audit/${name}.ts`,
);

const impure: readonly (readonly [RegExp, string])[] = [
  [/\bDate\.now\b|\bnew Date\(\s*\)|\bperformance\b/, 'reads a clock'],
  [/\bMath\.random\b|\brandom(Bytes|UUID|Int|Fill|FillSync)\b|\bgenerateKey/, 'takes random numbers'],
  [/\bprocess\./, 'reaches for the process'],
  [/\bconsole\./, 'logs'],
  [/\b(set(Timeout|Interval|Immediate)|inSteps|othersFirst|fetch)\(/, 'waits or calls out'],
];

/** Words on the page and in the heads that look like a file, and are none. */
const wordsInRooms: readonly string[] = ['ARCHITECTURE.md: process.env'];

interface Import {
  readonly from: string;
  readonly typeOnly: boolean;
  /** Loaded only when that line is reached. */
  readonly late: boolean;
}

describe('the architecture', () => {
  const files = globSync('{agent,attest-server,manifests,swtpm-fixtures}/**/*.ts', { cwd: root })
    .filter((file) => !isBuilt(file))
    .sort();

  for (const rule of rules) {
    const its = files.filter((file) => ruleOf(file) === rule);
    it(`${rule.room} imports only what it may, and all of it`, () => {
      const faults = its.flatMap((file) =>
        importsOf(read(file))
          .filter((statement) => !isAllowed(file, statement, rule))
          .map((statement) => `${file} -> ${statement.typeOnly ? 'type ' : ''}${statement.from}`),
      );
      assert.deepEqual(faults, []);
      const imported = its
        .filter((file) => !compositionRoots.includes(file))
        .flatMap((file) => importsOf(read(file)).flatMap(({ from }) => resolve(file, from) ?? []));
      const unneeded = rule.values.filter((room) => !imported.some((target) => isWithin(target, room)));
      assert.deepEqual(unneeded, [], 'nobody needs these any more');
    });
    if (!rule.pure) continue;
    it(`${rule.room} is pure`, () => {
      const faults = its.flatMap((file) =>
        impure
          .filter(([pattern]) => pattern.test(withoutComments(read(file))))
          .map(([, how]) => `${file} ${how}`),
      );
      assert.deepEqual(faults, []);
    });
  }

  it('has no circle of imports, of types neither', () => {
    const targets = new Map(
      files.map((file) => [
        file,
        importsOf(read(file)).flatMap(({ from }) => {
          const target = resolve(file, from);
          return target === null || target === file ? [] : [target];
        }),
      ]),
    );
    assert.deepEqual(circlesOf(targets), []);
  });

  it('keeps loose files of the server to main, config, server, version, what they alone use, its commands, and a doctor', () => {
    const isLoose = (file: string) => dirname(file) === server;
    const faults = files
      .filter((file) => file.startsWith(`${server}/`) && !isLoose(file))
      .filter((file) => ![`${server}/cli/offline/doctor`, `${server}/commands`].includes(dirname(file)))
      .flatMap((file) =>
        importsOf(read(file))
          .map(({ from }) => resolve(file, from))
          .filter((target) => target !== null && isLoose(target) && target !== `${server}/version.ts`)
          .map((target) => `${file} -> ${target}`),
      );
    assert.deepEqual(faults, []);
    const used = files
      .filter(isLoose)
      .flatMap((file) => importsOf(read(file)).map(({ from }) => resolve(file, from)));
    assert.deepEqual(
      files.filter((file) => isLoose(file) && !looseFiles.includes(file) && !used.includes(file)),
      [],
    );
  });

  it('opens each room of the server by its one opener, in server.ts, which gives it what it declares to telemetry', () => {
    const opened = importsOf(read(`${server}/server.ts`))
      .filter(({ typeOnly }) => !typeOnly)
      .flatMap(({ from }) => resolve(`${server}/server.ts`, from) ?? [])
      .filter((target) => dirname(target) !== server);
    assert.deepEqual(
      opened.sort(),
      // Besides: how an entry is chained, for the store, the methods that a policy may name, and the advice of its aspects.
      [
        ...openedRooms.map((room) => `${room}/open.ts`),
        ...openedRooms.map((room) => `${room}/telemetry.ts`).filter((file) => files.includes(file)),
        `${server}/audit/chain.ts`,
        `${server}/policy/advice.ts`,
        `${server}/enrolment/methods.ts`,
      ].sort(),
    );
    const openers = openedRooms.map((room) =>
      [...read(`${room}/open.ts`).matchAll(/^export (?:async )?function (\w+)/gm)].map(([, name]) => name),
    );
    assert.deepEqual(
      openers.filter(([name, ...more]) => more.length > 0 || !name?.startsWith('open')),
      [],
    );
  });

  it('imports aspects in the list of aspects only, and no aspect another one', () => {
    const roomOf = (file: string) => aspectRooms.find((room) => isWithin(file, room));
    const found = files.flatMap((file) =>
      importsOf(read(file)).flatMap(({ from }) => {
        const room = roomOf(resolve(file, from) ?? '');
        return room === undefined || room === roomOf(file) ? [] : [`${file} -> ${room}`];
      }),
    );
    const list = `${server}/policy/aspects.ts`;
    assert.deepEqual(
      found.filter((line) => line.startsWith(`${list} `)).sort(),
      aspectRooms.map((room) => `${list} -> ${room}`).sort(),
    );
    const others = found.filter((line) => !line.startsWith(`${list} `));
    assert.deepEqual(
      others.filter((line) => !importersOfAspects.some((allowed) => allowed.test(line))),
      [],
    );
    assert.deepEqual(
      importersOfAspects.filter((allowed) => !others.some((line) => allowed.test(line))),
      [],
      'nobody needs this exception any more',
    );
  });

  it('gives no two types that its files export one name, in the server and in the agent', () => {
    const declared = files
      .filter((file) => /^(agent|attest-server)\//.test(file))
      .flatMap((file) =>
        [...read(file).matchAll(/^export (?:abstract )?(?:class|interface|type) (\w+)/gm)].map(
          ([, name = '']) => ({ file, name, side: file.slice(0, file.indexOf('/')) }),
        ),
      );
    const several = [...Map.groupBy(declared, ({ side, name }) => `${side} ${name}`)]
      .filter(([, those]) => those.length > 1)
      .map(([key]) => key);
    assert.deepEqual(several.sort(), []);
  });

  it('reads the environment in main files only', () => {
    const faults = files.filter(
      (file) => !file.endsWith('/main.ts') && /\bprocess\.env\b/.test(withoutComments(read(file))),
    );
    assert.deepEqual(faults, []);
  });

  it('starts processes through the one runner only', () => {
    const faults = files.filter(
      (file) =>
        !startersOfProcesses.includes(file) &&
        importsOf(read(file)).some(
          ({ from, typeOnly }) => !typeOnly && /^(node:)?(child_process|cluster)$/.test(from),
        ),
    );
    assert.deepEqual(faults, []);
  });

  /** What a program that stays holds for as long as the node runs: files of ours, and modules that they import. */
  function loadedBy(program: string) {
    const loaded = new Set(['agent/main.ts', 'agent/resident.ts', program]);
    const modules = new Set<string>();
    for (const file of loaded)
      for (const { from, typeOnly, late } of importsOf(read(file))) {
        if (typeOnly || late) continue;
        const target = resolve(file, from);
        if (target !== null) loaded.add(target);
        else modules.add(from);
      }
    return { loaded, packages: [...modules].filter((name) => !/^node(:|-tpm2)/.test(name)).sort() };
  }

  it('loads into programs that stay no package but those of the wire, and only into the agent', () => {
    assert.deepEqual(loadedBy('agent/run.ts').packages, ['p-limit', 'ws', 'zod']);
    assert.deepEqual(loadedBy('agent/tpm-broker/run.ts').packages, []);
    assert.deepEqual(loadedBy('agent/netfilter/serve.ts').packages, []);
  });

  it('loads into the agent nothing of what a broker and netfilter do for it, and nothing that reads settings', () => {
    const { loaded } = loadedBy('agent/run.ts');
    const forOthers = [
      /^agent\/node-tpm2\/(?!run|pcrs|tool-error|response-code)/,
      /^agent\/netfilter\/(?!client|messages|netfilter-fault)/,
      /^agent\/tpm-broker\/(?!client|frames|messages)/,
      /^attest-server\/(api\/|formats\/|settings\/(?!config-error))/,
    ];
    assert.ok(loaded.has('agent/netfilter/client.ts') && loaded.has('agent/tpm-broker/client.ts'));
    assert.deepEqual(
      [...loaded].filter((file) => forOthers.some((pattern) => pattern.test(file))),
      [],
    );
  });

  it('knows in telemetry alone how metrics are kept', () => {
    const importers = files.filter((file) =>
      importsOf(read(file)).some(({ from }) => from === 'prom-client'),
    );
    assert.deepEqual(
      importers.filter((file) => !file.startsWith(`${server}/telemetry/`)),
      [],
    );
  });

  it('reaches a database through one door only', () => {
    const faults = files.filter(
      (file) =>
        !file.startsWith(`${server}/store/sqlite/`) &&
        !readersOfDatabases.includes(file) &&
        importsOf(read(file)).some(({ from }) => from === 'node:sqlite'),
    );
    assert.deepEqual(faults, []);
  });

  // What needs more is several things: each gets a file, and a name.
  it('has no class in the pipeline with more than 300 lines, and a pipeline of so many at most', () => {
    const pipeline = files.filter((file) => file.startsWith(`${server}/attest/`));
    assert.deepEqual(
      pipeline.flatMap((file) => classesOf(read(file)).filter(({ lines }) => lines > 300)),
      [],
    );
    const lines = read(`${server}/attest/attestation.ts`).trimEnd().split('\n').length;
    assert.ok(lines <= 300, `attestation.ts has ${lines} lines`);
  });

  const paths = globSync('{agent,attest-server,docs,manifests,swtpm-fixtures,test}/**', { cwd: root });
  const page = read('ARCHITECTURE.md');
  const heads = paths
    .filter((path) => path.endsWith('.ts') && !isBuilt(path))
    .flatMap((file) => {
      const text = headIn(read(file));
      return text === null ? [] : [{ file, room: dirname(file), text }];
    });

  it('has a page that a person can hold, on which each room leads to the file that has its head', () => {
    const lines = page.trimEnd().split('\n');
    assert.ok(lines.length <= 120, `${lines.length} lines`);
    assert.deepEqual(
      lines.filter((line) => line.length > 140),
      [],
    );
    const linked = [...page.matchAll(/\]\(([\w/-]+\.ts)\)/g)].map(([, file = '']) => file);
    const sides = /^(agent|attest-server)(\/[^/]+)?$/;
    const roomsOfSides = new Set(files.map(dirname).filter((room) => sides.test(room)));
    assert.deepEqual([...roomsOfSides.difference(new Set(linked.map(dirname)))], []);
    assert.deepEqual(
      linked.filter((file) => heads.every((head) => head.file !== file)),
      [],
    );
  });

  it('has one head in each room, also in those within verify, policy and attest', () => {
    const headed = Object.keys(Object.groupBy(heads, ({ room }) => room));
    assert.equal(heads.length, headed.length, 'a room has two');
    const within = /^attest-server\/(verify|policy|attest)\/[^/]+$/;
    const roomsWithin = new Set(files.map(dirname).filter((room) => within.test(room)));
    assert.deepEqual([...roomsWithin.difference(new Set(headed))], []);
  });

  it('names on the page and in the heads what is there, and nothing that is gone', () => {
    const there = new Set(paths.flatMap((path) => [path, path.replace(/\.\w+$/, '')]));
    const isThere = (name: string, room: string) =>
      ['', server, 'agent', 'manifests', 'swtpm-fixtures', room].some((base) =>
        there.has(join(base, name).replace(/\/$/, '')),
      );
    // On a page, a word without a dot or a slash may be anything.
    const pages = ['ARCHITECTURE.md', 'docs/evidence.md'].map((file) => {
      return { file, room: '', text: read(file), names: /`([a-z][a-z0-9-]*[./][a-z0-9./-]*)`/g };
    });
    const named = [...pages, ...heads.map((head) => ({ ...head, names: /`([a-z][a-z0-9./-]*)`/g }))].flatMap(
      ({ text, names, ...where }) => [...text.matchAll(names)].map(([, name = '']) => ({ ...where, name })),
    );
    assert.ok(named.length > 250, `${named.length} names`);
    assert.deepEqual(
      named.filter(({ name, room }) => !isThere(name, room)).map(({ file, name }) => `${file}: ${name}`),
      wordsInRooms,
    );
  });

  it('has no file that only passes on the exports of others, save a package’s entry', () => {
    const faults = files.filter((file) => {
      if (file === 'agent/node-tpm2/index.ts') return false;
      const code = withoutComments(read(file)).trim();
      return (
        code !== '' && code.replace(/export\s+(type\s+)?(\*|\{[^}]*\})[^;]*from[^;]*;/g, '').trim() === ''
      );
    });
    assert.deepEqual(faults, []);
  });
});

describe('the search for circles', () => {
  it('finds each whole, and nothing that only leads to one', () => {
    const imports = { a: ['b'], b: ['c', 'd'], c: ['b'], d: ['e'], e: ['f'], f: ['d', 'g'], g: [] };
    assert.deepEqual(circlesOf(new Map(Object.entries(imports))), [
      ['b', 'c'],
      ['d', 'e', 'f'],
    ]);
  });
});

describe('the reading of classes', () => {
  it('counts the lines of each, from its first to its last', () => {
    const source = `class A {}
export abstract class B<T> extends C {
  one() {
    return {
    };
  }
}
const d = 1;
class E {
}`;
    assert.deepEqual(classesOf(source), [
      { name: 'A', lines: 1 },
      { name: 'B', lines: 6 },
      { name: 'E', lines: 2 },
    ]);
  });
});

describe('the reading of import statements', () => {
  it('tells types from values, and sees exports and dynamic imports', () => {
    const source = `import a from './a.ts';
import type { B } from './b.ts';
import { type C, d } from './c.ts';
import { type E, type F } from './e.ts';
// import x from './x.ts';
import './g.ts';
export { h } from './h.ts';
export type { I } from './i.ts';
const j = await import('./j.ts');
import * as k from 'node:fs';`;
    assert.deepEqual(
      importsOf(source).map(({ from, typeOnly }) => `${typeOnly ? 'type ' : ''}${from}`),
      [
        './a.ts',
        'type ./b.ts',
        './c.ts',
        'type ./e.ts',
        './g.ts',
        './h.ts',
        'type ./i.ts',
        'node:fs',
        './j.ts',
      ],
    );
  });
});

/** Files each of which leads to each other one: strongly connected components, in order. */
function circlesOf(targets: ReadonlyMap<string, readonly string[]>): readonly (readonly string[])[] {
  const circles: string[][] = [];
  const numbers = new Map<string, number>();
  const open: string[] = [];
  /** Gives the lowest number that the file leads to, of those that are open. */
  function visit(file: string): number {
    const own = numbers.size;
    numbers.set(file, own);
    open.push(file);
    let lowest = own;
    for (const target of targets.get(file) ?? []) {
      if (!numbers.has(target)) lowest = Math.min(lowest, visit(target));
      else if (open.includes(target)) lowest = Math.min(lowest, numbers.get(target)!);
    }
    if (lowest === own) {
      const circle = open.splice(open.indexOf(file));
      if (circle.length > 1) circles.push(circle.sort());
    }
    return lowest;
  }
  for (const file of targets.keys()) if (!numbers.has(file)) visit(file);
  return circles.sort();
}

function isBuilt(path: string): boolean {
  return /(^|\/)(node_modules|dist)\//.test(path);
}

/** The comment that begins a file, and stands apart from what follows; null if there is none. */
function headIn(source: string): string | null {
  return /^\/\*\*(?:(?!\*\/)[\s\S])*\*\/(?=\n\n)/.exec(source)?.[0] ?? null;
}

interface ClassText {
  readonly name: string;
  readonly lines: number;
}

/** Those that begin and end at the start of a line, as the formatter has them. */
function classesOf(source: string): readonly ClassText[] {
  return [
    ...source.matchAll(/^(?:export )?(?:default )?(?:abstract )?class (\w+)(?:[^\n]*\{\}$|[\s\S]*?^\})/gm),
  ].map(([text, name = '']) => ({ name, lines: text.split('\n').length }));
}

function ruleOf(file: string): Rule | undefined {
  return rules.find((rule) => isWithin(file, rule.room));
}

/** `attest-server/attest` is the folder of that name, or the file `attest-server/attest.ts`. */
function isWithin(file: string, room: string): boolean {
  return file === room || file === `${room}.ts` || file.startsWith(`${room}/`);
}

function isAllowed(file: string, { from, typeOnly }: Import, rule: Rule): boolean {
  const target = resolve(file, from);
  if (target === null) return rule.packages === undefined || rule.packages.includes(from);
  if (compositionRoots.includes(file)) return true;
  if (ruleOf(target) === rule) return true;
  const allowed = typeOnly ? [...rule.values, ...(rule.types ?? [])] : rule.values;
  return allowed.some((room) => isWithin(target, room));
}

/** The file of this repository that is meant, or null for a package or a built-in. */
function resolve(file: string, from: string): string | null {
  if (from.startsWith('.')) return normalize(join(dirname(file), from));
  if (from === 'node-tpm2') return 'agent/node-tpm2/index.ts';
  if (from.startsWith('node-tpm2/')) return `agent/${from}.ts`;
  // The list holds `node:sqlite` and its like with their prefix: they have no other name.
  const isBare = !from.startsWith('node:') && builtinModules.includes(from);
  assert.ok(!isBare, `${file} imports ${from} without the prefix node:`);
  return null;
}

function importsOf(source: string): readonly Import[] {
  const code = withoutComments(source);
  const found: Import[] = [];
  for (const match of code.matchAll(/^\s*(?:import|export)\s+(?:([^'";]*?)\sfrom\s+)?['"]([^'"]+)['"]/gm)) {
    found.push({ from: match[2] ?? '', typeOnly: isTypeOnly(match[1]), late: false });
  }
  for (const match of code.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g)) {
    found.push({ from: match[1] ?? '', typeOnly: false, late: true });
  }
  return found;
}

/** `type { A }`, or a list of which every member is a type. */
function isTypeOnly(clause: string | undefined): boolean {
  if (clause === undefined) return false;
  if (/^type\s/.test(clause)) return true;
  const members = /^\{([^}]*)\}$/
    .exec(clause.trim())?.[1]
    ?.split(',')
    .map((member) => member.trim());
  return members?.filter(Boolean).every((member) => member.startsWith('type ')) ?? false;
}

/** Comments at a line's start or after code; a `//` inside a string (as in an address) stays. */
function withoutComments(source: string): string {
  return source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|\s)\/\/.*$/gm, '$1');
}

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}
