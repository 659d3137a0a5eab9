import { globSync } from 'node:fs';
import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const root = join(import.meta.dirname, '../..');
/** Folders and files without which neither the programs run nor the compiler. */
const needed = ['agent', 'attest-server', 'package.json', 'tsconfig.json'];

/** New files: their place in the product, and where they lie here. */
const added: Readonly<Record<string, string>> = {
  'attest-server/policy/runtime/runtime.ts': 'aspect/runtime.ts',
  'agent/collectors/listed-programs.ts': 'collector.ts',
};

/** Lists with one member more, at the end: from where to where the members stand, the import, and the member. */
const extended: Readonly<Record<string, readonly [list: RegExp, imported: string, member: string]>> = {
  'attest-server/policy/aspects.ts': [
    /(?<=^const listed = \[)[^\]]*(?=\] as const;$)/m,
    "import { runtime } from './runtime/runtime.ts';",
    'runtime',
  ],
  'agent/collectors/list.ts': [
    /(?<=^export const collectors = [^[]*\[\] => \[)[^\]]*(?=\];$)/m,
    "import { listedPrograms } from './listed-programs.ts';",
    'listedPrograms',
  ],
};

/** The product's own collector of the part that the one of here gives, and its own aspect of this name. */
const replaced = /\b(?:inventory\([^)]*\)|runtime),?\s*/;
/** The room of that aspect: the copy is of a product that never had it. */
const replacedRoom = 'attest-server/policy/runtime';
const replacedImport = "import { runtime } from './runtime/runtime.ts';\n";

/** What programs of a copy need: Node keeps what it compiles by its path, and each copy has another one. */
export const environmentOf = (copy: string) => ({ NODE_COMPILE_CACHE: `${copy}.compiled` });

/** All that a new aspect touches. */
export const touched = [...Object.keys(added), ...Object.keys(extended)].sort();

/** What programs and compiler need, and nothing that was compiled. */
async function copyProduct(copy: string): Promise<void> {
  for (const name of needed)
    await cp(join(root, name), join(copy, name), {
      recursive: true,
      filter: (path) => !/\/(node_modules|dist)(\/|$)/.test(path.slice(root.length)),
    });
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'));
}

/** Copies the product and adds the aspect and its collector. @throws Error where a list has another form than known here */
export async function makeProductCopy(copy: string): Promise<void> {
  await copyProduct(copy);
  await rm(join(copy, replacedRoom), { recursive: true });
  for (const [place, from] of Object.entries(added)) {
    await mkdir(dirname(join(copy, place)), { recursive: true });
    await cp(join(import.meta.dirname, from), join(copy, place));
  }
  for (const [file, [list, imported, member]] of Object.entries(extended)) {
    const text = (await readFile(join(copy, file), 'utf8')).replace(replacedImport, '');
    const members = list.exec(text)?.[0];
    if (members === undefined) throw new Error(`${file} has no list like ${list}`);
    const others = members.replace(replaced, '').replace(/,?\s*$/, '');
    await writeFile(join(copy, file), `${imported}\n${text.replace(list, `${others}, ${member}`)}`);
  }
}

/** The files in which copy and product differ, without those of the room that the copy never had. */
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
  return found.filter((file) => !file.startsWith(replacedRoom) || file in added).sort();
}
