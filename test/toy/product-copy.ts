import { globSync } from 'node:fs';
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const root = join(import.meta.dirname, '../..');
/** Folders and files without which neither the programs run nor the compiler. */
const needed = ['agent', 'attest-server', 'package.json', 'tsconfig.json'];

/** New files: their place in the product, and where they lie here. */
const added: Readonly<Record<string, string>> = {
  'attest-server/policy/firewall/firewall.ts': 'aspect/firewall.ts',
  'agent/collectors/firewall.ts': 'collector.ts',
};

/** Lists with one member more: the line, and what stands in its place; the import is a part of it. */
const extended: Readonly<Record<string, readonly [line: string, longer: string]>> = {
  'attest-server/policy/aspects.ts': [
    'const listed = [identity, boot, disk] as const;',
    "import { firewall } from './firewall/firewall.ts';\nconst listed = [identity, boot, disk, firewall] as const;",
  ],
  'agent/collectors/list.ts': [
    'export const collectors = (): readonly Collector[] => [bootLog(), userSpaceLog, imaLog, disk, host, loaderFiles];',
    "import { firewall } from './firewall.ts';\nexport const collectors = (): readonly Collector[] => [bootLog(), userSpaceLog, imaLog, disk, host, loaderFiles, firewall];",
  ],
};

/** All that a new aspect touches. */
export const touched = [...Object.keys(added), ...Object.keys(extended)].sort();

/** Copies the product and adds the aspect and its collector. @throws Error where a list has another form than known here */
export async function makeProductCopy(copy: string): Promise<void> {
  for (const name of needed)
    await cp(join(root, name), join(copy, name), {
      recursive: true,
      filter: (path) => !/\/(node_modules|dist)(\/|$)/.test(path.slice(root.length)),
    });
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'));
  for (const [place, from] of Object.entries(added)) {
    await mkdir(dirname(join(copy, place)), { recursive: true });
    await cp(join(import.meta.dirname, from), join(copy, place));
  }
  for (const [file, [line, longer]] of Object.entries(extended)) {
    const lines = (await readFile(join(copy, file), 'utf8')).split('\n');
    const at = lines.indexOf(line);
    if (at < 0) throw new Error(`${file} has no line ${line}`);
    lines[at] = longer;
    await writeFile(join(copy, file), lines.join('\n'));
  }
}

/** The files in which copy and product differ. */
export async function differences(copy: string): Promise<readonly string[]> {
  const read = (folder: string, file: string) => readFile(join(folder, file), 'utf8').catch(() => null);
  const files = new Set(
    [root, copy].flatMap((folder) =>
      globSync('{agent,attest-server}/**/*.*', {
        cwd: folder,
        exclude: ['**/node_modules', '**/dist'],
        withFileTypes: true,
      })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1)),
    ),
  );
  const found: string[] = [];
  for (const file of [...files, 'package.json', 'tsconfig.json'])
    if ((await read(root, file)) !== (await read(copy, file))) found.push(file);
  return found.sort();
}
