import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { z } from 'zod';

const bundledPackage = z.object({
  /** `node_modules/NAME`, or below another package. */
  path: z.string(),
  name: z.string(),
  version: z.string(),
  licence: z.string(),
});
/** A package of npm that is in a program. */
export type BundledPackage = Readonly<z.infer<typeof bundledPackage>>;

/** By the file that Node is given: `bundled-packages.json` of what is built. */
export const bundledPackages = z.record(z.string(), z.array(bundledPackage));

/**
 * What the launchers and other programs start, each in the folder of its source, with modules that whatever it loads later has at
 * hand: what these import is one file. Else each set of commands that share a module has a file of its own for it, and a file costs
 * more to find than to read.
 */
const entries: Readonly<Record<string, readonly string[]>> = {
  'agent/main.ts': [],
  'agent/collectors/inventory-program.ts': [],
  'attest-server/main.ts': [],
  'attest-server/cli/main.ts': [
    'attest-server/cli/program.ts',
    'attest-server/cli/connect.ts',
    'attest-server/cli/commands/get.ts',
    'attest-server/cli/commands/why.ts',
  ],
  'manifests/cloud/aws/main.ts': [],
  'manifests/cloud/gce/main.ts': [],
};

/**
 * Writes each program with all that it imports, of ours and of packages, next to where its source is: what it loads at its start in a
 * few files, and what it loads later in others.
 * @param root of the tree that has the sources
 * @throws Error naming what cannot be resolved, and a package that is for tests alone
 */
export async function bundlePrograms(root: string, out: string): Promise<z.infer<typeof bundledPackages>> {
  const { packages } = locked.parse(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')));
  const bundled: z.infer<typeof bundledPackages> = {};
  for (const [entry, atHand] of Object.entries(entries)) {
    const folder = dirname(entry);
    const { metafile, warnings } = await build({
      absWorkingDir: root,
      entryPoints: [entry],
      outdir: join(out, folder),
      bundle: true,
      splitting: true,
      format: 'esm',
      platform: 'node',
      target: 'esnext',
      // Used by `ws` and `debug` if somebody installed them.
      external: ['bufferutil', 'utf-8-validate', 'supports-color'],
      legalComments: 'none',
      logLevel: 'silent',
      metafile: true,
      // Packages of CommonJS ask for built-ins in this way. What asks for anything else loads more of Node.js.
      banner: {
        js: "const require = (name) => globalThis.process.getBuiltinModule(name) ?? globalThis.process.getBuiltinModule('node:module').createRequire(import.meta.url)(name);",
      },
      plugins: [sources(root, folder), withoutModels, lateByOurs, late(root, atHand)],
    });
    for (const { text, location } of warnings)
      process.stderr.write(`build: ${location?.file ?? entry}: ${text}\n`);
    const inputs = Object.values(metafile.outputs).flatMap(({ inputs }) =>
      Object.entries(inputs).flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? [file] : [])),
    );
    bundled[entry.replace(/ts$/, 'js')] = packagesOf(root, inputs, packages);
  }
  return bundled;
}

/**
 * Sources, with what starts faster: of zod what is used, not all of its languages; and of Node's modules the names that are used,
 * since an import makes all of them, with what stands behind each. What lies beside a source is found from its program's folder.
 */
function sources(root: string, folder: string): Plugin {
  return {
    name: 'sources',
    setup({ onLoad }) {
      onLoad({ filter: /\.ts$|\/commander\/.*\.js$/, namespace: 'file' }, ({ path }) => {
        const way = JSON.stringify(`/${relative(join(root, folder), dirname(path))}`);
        const contents = readFileSync(path, 'utf8')
          .replaceAll('import.meta.dirname', `(import.meta.dirname + ${way})`)
          .replace("import { z } from 'zod'", "import * as z from 'zod'")
          // Of commander: it would start a program for a command that is none of its own, and we have none of these.
          .replace("import childProcess from 'node:child_process';", '')
          .replaceAll('childProcess.', "globalThis.process.getBuiltinModule('node:child_process').")
          .replaceAll(/^import \{([^}]*)\} from '(node:[^']+)'/gm, (_, names: string, module: string) => {
            const values = names.split(',').filter((name) => !/^\s*(type |$)/.test(name));
            return `const {${values.join().replaceAll(' as ', ': ')}} = globalThis.process.getBuiltinModule('${module}')`;
          })
          .replaceAll(
            /^import (\w+) from '(node:[^']+)'/gm,
            "const $1 = globalThis.process.getBuiltinModule('$2')",
          );
        return { contents, loader: path.endsWith('.ts') ? 'ts' : 'js' };
      });
    },
  };
}

/**
 * Of the cluster's client we use what reads a kubeconfig. Its models, 15 MB, would come along, since it does not say that its
 * modules only define.
 */
const withoutModels: Plugin = {
  name: 'without models',
  setup({ onResolve, resolve }) {
    onResolve(
      { filter: /^@kubernetes\/client-node$|^\.\/gen\/index\.js$/ },
      async ({ path, pluginData, ...asked }) => {
        if (pluginData === 'asked') return null;
        const found = await resolve(path, {
          resolveDir: asked.resolveDir,
          importer: asked.importer,
          kind: asked.kind,
          pluginData: 'asked',
        });
        return { ...found, sideEffects: false };
      },
    );
  },
};

/** Loaded late, a package of CommonJS has none of its names: a module of ours is loaded so, and has the package from its start. */
const lateByOurs: Plugin = {
  name: 'late by ours',
  setup({ onResolve }) {
    onResolve({ filter: /^[@\w]/ }, ({ kind, path, importer }) =>
      kind === 'dynamic-import' && !/^node(:|-tpm2$)/.test(path) && !importer.includes('node_modules')
        ? { errors: [{ text: `import ${path} in a module of its own, and that one late` }] }
        : null,
    );
  },
};

const locked = z.object({
  packages: z.record(z.string(), z.object({ dev: z.boolean().default(false) })),
});
const described = z.object({ name: z.string(), version: z.string(), license: z.string() });

/** What is loaded late imports also what is at hand. */
function late(root: string, atHand: readonly string[]): Plugin {
  return {
    name: 'late',
    setup({ onResolve, onLoad }) {
      if (atHand.length === 0) return;
      onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) =>
        kind === 'dynamic-import' ? { namespace: 'late', path: join(resolveDir, path) } : null,
      );
      onLoad({ filter: /^/, namespace: 'late' }, ({ path }) => {
        const imports = atHand.map((file) => `import ${JSON.stringify(join(root, file))};\n`);
        return { contents: `${imports.join('')}export * from ${JSON.stringify(path)};\n`, resolveDir: root };
      });
    },
  };
}

function packagesOf(
  root: string,
  files: readonly string[],
  packages: z.infer<typeof locked>['packages'],
): BundledPackage[] {
  const paths = new Set(
    files.flatMap((file) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? []),
  );
  return [...paths].sort().map((path) => {
    if (packages[path]?.dev !== false) throw new Error(`${path} is no package that runs (package-lock.json)`);
    const { name, version, license } = described.parse(
      JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8')),
    );
    return { path, name, version, licence: license };
  });
}
