import { LineCounter, parseDocument, visit, type YAMLError } from 'yaml';
import { offsetOf } from '../formats/yaml-offset.ts';
import { ConfigError } from './config-error.ts';
import type { ConfigFile } from './settings.ts';

/** Characters. A configuration is written by people. */
const longest = 1 << 18;

/**
 * Reads a configuration file.
 * @throws ConfigError if it cannot be read; what is wrong with its text is in the result
 */
export async function readConfigFile(name: string, readText: () => Promise<string>): Promise<ConfigFile> {
  try {
    return parseConfigFile(await readText(), name);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? ` (${cause.code})` : '';
    const text = `cannot be read${code}`;
    throw new ConfigError([{ key: null, also: [], file: name, line: null, text }], { cause });
  }
}

/** Parses YAML 1.2 without aliases. Faults are in the order of their lines and repeat nothing of the text. */
export function parseConfigFile(text: string, name: string): ConfigFile {
  const faulty = (faults: ConfigFile['faults']): ConfigFile => ({
    name,
    value: null,
    faults: faults.toSorted((a, b) => a.line - b.line),
    lineOf: () => null,
  });
  if (text.length > longest) return faulty([{ line: 1, text: `longer than ${longest} characters` }]);
  const lines = new LineCounter();
  const lineAt = (offset: number) => lines.linePos(offset).line || 1;
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true });
    const faults = [...document.errors, ...document.warnings].map(({ pos, code }) => ({
      line: lineAt(pos[0]),
      text: yamlFaults[code],
    }));
    visit(document, {
      Alias(_key, { range }) {
        faults.push({ line: lineAt(range?.[0] ?? 0), text: 'an alias: write the value out' });
      },
    });
    if (faults.length > 0) return faulty(faults);
    const value: unknown = document.toJS();
    return { name, value, faults, lineOf: (path) => lineAt(offsetOf(path, document)) };
  } catch (cause) {
    if (cause instanceof RangeError) return faulty([{ line: 1, text: 'nested too deeply' }]);
    throw cause;
  }
}

/** The library's own messages quote the text, in which a secret may stand. */
const yamlFaults: Readonly<Record<YAMLError['code'], string>> = {
  ALIAS_PROPS: 'an alias: write the value out',
  BAD_ALIAS: 'an anchor or alias without a proper name',
  BAD_COLLECTION_TYPE: 'a tag that does not fit its value',
  BAD_DIRECTIVE: 'a % directive that YAML does not have',
  BAD_DQ_ESCAPE: 'a \\ in double quotes that begins no escape sequence: use single quotes',
  BAD_INDENT: 'wrong indentation',
  BAD_PROP_ORDER: 'an anchor or tag in the wrong place',
  BAD_SCALAR_START: 'a value that begins with a character that YAML reserves: put it in quotes',
  BLOCK_AS_IMPLICIT_KEY: 'a list or mapping on the line of a key: put it on a line of its own',
  BLOCK_IN_FLOW: 'an indented list or mapping within brackets',
  DUPLICATE_KEY: 'a key that stands here twice',
  IMPOSSIBLE: 'not YAML',
  KEY_OVER_1024_CHARS: 'a key of more than 1024 characters',
  MISSING_CHAR: 'a quote, bracket, colon, comma or blank is missing',
  MULTILINE_IMPLICIT_KEY: 'a key that goes over several lines',
  MULTIPLE_ANCHORS: 'a value with several anchors',
  MULTIPLE_DOCS: 'a second document (---)',
  MULTIPLE_TAGS: 'a value with several tags',
  NON_STRING_KEY: 'a key that is not text',
  RESOURCE_EXHAUSTION: 'nested too deeply',
  TAB_AS_INDENT: 'a tab as indentation: use blanks',
  TAG_RESOLVE_FAILED: 'a tag (!) that is not known: leave it out',
  UNEXPECTED_TOKEN: 'something that does not belong here',
};
