import type { Command } from 'commander';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { argumentAt, optionsOf, type Suggestion, scriptVersion, subcommands } from './complete.ts';

/** The shells of `assay completion`. */
export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/**
 * `completion SHELL`: shells complete commands and options by the script alone, and ask this program for the rest
 * and for what the script does not know. One of another version has them ask for everything.
 */
export function printCompletion(program: Command, { io, version }: CliContext, shell: Shell): void {
  const known = shell === 'fish' ? knownToFish : knownWords;
  io.out(`${scripts[shell]}${known(program, version)}${ends[shell]}`);
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
${placesOf(program, program, ['']).map(branchOf).join('\n')}
    *) return 1 ;;
  esac
}
`;
}

/** A command, and what can stand behind it. */
interface Place {
  /** How the command can be typed, by its aliases too: each word after a blank. */
  readonly paths: readonly string[];
  readonly commands: readonly Suggestion[];
  /** A name can stand there as well as a command: the program is asked for both. */
  readonly takesName: boolean;
  /** Those that are its own. */
  readonly options: readonly Suggestion[];
}

function placesOf(program: Command, command: Command, paths: readonly string[]): readonly Place[] {
  const general = new Set(optionsOf(program, program, '--').map(({ word }) => word));
  const options = optionsOf(program, command, '--').filter(({ word }) => !general.has(word));
  const commands = subcommands(command, '');
  return [
    { paths, commands, takesName: argumentAt(command, 0) !== null, options },
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

function branchOf({ paths, commands, takesName, options }: Place): string {
  const offered = takesName ? quoted(commands.length > 0 ? '\n' : '') : linesOf(commands);
  return `    ${paths.map(quoted).join(' | ')}) commands=${offered} options=${linesOf(options)} ;;`;
}

function linesOf(suggestions: readonly Suggestion[]): string {
  return quoted(suggestions.map(({ word, text }) => `${word}\t${printable(text)}`).join('\n'));
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The same for fish, which looks itself for those that fit. */
function knownToFish(program: Command, version: string): string {
  const words = (suggestions: readonly Suggestion[]) =>
    suggestions.map(({ word, text }) => ` ${quotedForFish(`${word}\t${printable(text)}`)}`).join('');
  const branch = ({ paths, commands, takesName, options }: Place) => {
    const offered = takesName ? (commands.length > 0 ? " ''" : '') : words(commands);
    return `    case ${paths.map(quotedForFish).join(' ')}
      set commands${offered}
      set options${words(options)}`;
  };
  return `
# Prints the commands, or the options, that can stand behind these words; nothing where the program is to be asked.
function __assay_known
  test -n "$__assay_stale"; and return
  set -l at ''
  set -l is_open 1
  set -l before ''
  set -l commands
  set -l options
  __assay_place ''
  for word in $argv[1..-2]
    set before $word
    switch "$word"
      case --
        return
      case '-*'
        set is_open ''
      case '*'
        if test -n "$is_open"; and __assay_place "$at $word"
          set at "$at $word"
        else
          set is_open ''
        end
    end
  end
  switch "$argv[-1]"
    case '*=*'
      return
    case '-*'
      string match -q -- '-*' "$before"; and return
      test -z "$is_open"; and set -q commands[1]; and return
      string join \\n -- $options $__assay_everywhere
    case '*'
      test -n "$is_open"; and string join \\n -- $commands
  end
end
set -g __assay_version ${quotedForFish(version)}
set -g __assay_stale ''
set -g __assay_everywhere${words(optionsOf(program, program, '--'))}
function __assay_place --no-scope-shadowing
  switch "$argv[1]"
${placesOf(program, program, ['']).map(branch).join('\n')}
    case '*'
      return 1
  end
end
`;
}

/** Between these, fish knows two escapes. */
function quotedForFish(text: string): string {
  return `'${text.replaceAll(/[\\']/g, '\\$&')}'`;
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

const fish = `# fish completion of assay: assay completion fish | source
function __assay_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  test -z "$current"; and set current ''
  set -l known (__assay_known $words[2..-1] "$current")
  if test -z "$known"
    set known (${scriptVersion}=$__assay_version $words[1] __complete -- $words[2..-1] "$current" 2>/dev/null)
  end
  for line in $known
    switch "$line"
      case :files
        __fish_complete_path "$current"
      case :stale
        set -g __assay_stale 1
      case '*'
        printf '%s\\n' $line
    end
  end
end
`;

const scripts: Readonly<Record<Shell, string>> = { bash, zsh, fish };
const ends: Readonly<Record<Shell, string>> = {
  bash: 'complete -F _assay assay\n',
  zsh: 'if [[ "${funcstack[1]}" == _assay ]]; then _assay "$@"; else compdef _assay assay; fi\n',
  fish: "complete -c assay -f -k -a '(__assay_complete)'\n",
};
