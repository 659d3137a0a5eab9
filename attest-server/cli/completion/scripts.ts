import type { Command } from 'commander';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { argumentAt, optionsOf, type Suggestion, scriptVersion, subcommands } from './complete.ts';

/** The shells of `assay completion`. */
export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/**
 * `completion SHELL`: bash and zsh complete commands and options by the script alone, and ask this program for the rest
 * and for what the script does not know. One of another version has them ask for everything.
 */
export function printCompletion(program: Command, { io, version }: CliContext, shell: Shell): void {
  io.out(shell === 'fish' ? fish : `${scripts[shell]}${knownWords(program, version)}${ends[shell]}`);
}

/** For bash and zsh: the commands, or the options, that can stand behind these words. */
function knownWords(program: Command, version: string): string {
  return `
# Sets $known: a word a line, after a tab what it means; nothing where the program is to be asked.
_assay_known() {
  local at= open=1 word= before= commands= options= found= line=
  known=
  [ -n "$_assay_stale" ] && return
  _assay_place ''
  while [ "$#" -gt 1 ]; do
    word="$1" before="$1"
    shift
    case "$word" in
      --) return ;;
      -*) open= ;;
      *) if [ -n "$open" ] && _assay_place "$at $word"; then at="$at $word"; else open=; fi ;;
    esac
  done
  case "$1" in
    *=*) return ;;
    -*)
      case "$before" in -* | =) return ;; esac
      [ -z "$open" ] && [ -n "$commands" ] && return
      found="$options
$_assay_everywhere"
      ;;
    *) [ -n "$open" ] && found="$commands" ;;
  esac
  while IFS= read -r line; do
    case "$line" in "$1"*) [ -n "$line" ] && known="$known$line
" ;; esac
  done <<<"$found"
}
${scriptVersion}=${quoted(version)}
_assay_stale=
_assay_everywhere=${linesOf(optionsOf(program, program, '--'))}
_assay_place() {
  case "$1" in
${placesOf(program, program, ['']).join('\n')}
    *) return 1 ;;
  esac
}
`;
}

/** A branch for each command. @param paths how it can be typed, by its aliases too */
function placesOf(program: Command, command: Command, paths: readonly string[]): readonly string[] {
  const general = new Set(optionsOf(program, program, '--').map(({ word }) => word));
  const own = optionsOf(program, command, '--').filter(({ word }) => !general.has(word));
  // Where a name can stand as well, the program is asked for both.
  const commands = subcommands(command, '');
  const isOpen = argumentAt(command, 0) === null;
  const branch = `    ${paths.map(quoted).join(' | ')}) commands=${isOpen ? linesOf(commands) : quoted(commands.length > 0 ? '\n' : '')} options=${linesOf(own)} ;;`;
  return [
    branch,
    ...command.commands
      .filter((each) => commands.some(({ word }) => word === each.name()))
      .flatMap((each) => {
        const names = [each.name(), ...each.aliases()];
        return placesOf(
          program,
          each,
          paths.flatMap((path) => names.map((name) => `${path} ${name}`)),
        );
      }),
  ];
}

function linesOf(suggestions: readonly Suggestion[]): string {
  return quoted(suggestions.map(({ word, text }) => `${word}\t${printable(text)}`).join('\n'));
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

// The hidden `__complete` prints a word a line, after a tab what it means; `:files` stands for names of files.

const bash = `# bash completion of assay: source <(assay completion bash)
_assay() {
  local line known files= current="\${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=()
  _assay_known "\${COMP_WORDS[@]:1:COMP_CWORD}"
  [ -n "$known" ] || known="$(${scriptVersion}="$${scriptVersion}" "\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)"
  while IFS= read -r line; do
    case "$line" in
      :files) files=1 ;;
      :stale) _assay_stale=1 ;;
      ?*) COMPREPLY+=("\${line%%$'\\t'*}") ;;
    esac
  done <<<"$known"
  if [ -n "$files" ]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current")
  fi
}
`;

const zsh = `#compdef assay
# zsh completion of assay: source <(assay completion zsh), or as the file _assay in a folder of fpath
_assay() {
  local line word known files=0
  local -a found
  _assay_known "\${(@)words[2,CURRENT]}"
  [[ -n "$known" ]] || known="$(${scriptVersion}="$${scriptVersion}" "\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)"
  while IFS= read -r line; do
    case "$line" in
      :files) files=1 ;;
      :stale) _assay_stale=1 ;;
      ?*)
        word="\${line%%$'\\t'*}"
        if [[ "$word" == "$line" ]]; then found+=("\${word//:/\\\\:}"); else found+=("\${word//:/\\\\:}:\${line#*$'\\t'}"); fi
        ;;
    esac
  done <<<"$known"
  (( \${#found} )) && _describe -V assay found
  (( files )) && _files
  return 0
}
`;

const scripts: Readonly<Record<'bash' | 'zsh', string>> = { bash, zsh };
const ends: Readonly<Record<'bash' | 'zsh', string>> = {
  bash: 'complete -F _assay assay\n',
  zsh: 'if [[ "${funcstack[1]}" == _assay ]]; then _assay "$@"; else compdef _assay assay; fi\n',
};

const fish = `# fish completion of assay: assay completion fish | source
function __assay_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  test -z "$current"; and set current ''
  for line in ($words[1] __complete -- $words[2..-1] "$current" 2>/dev/null)
    if test "$line" = ':files'
      __fish_complete_path "$current"
    else
      printf '%s\\n' $line
    end
  end
end
complete -c assay -f -k -a '(__assay_complete)'
`;
