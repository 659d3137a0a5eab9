import type { CliIo } from '../io.ts';

/** The shells of `assay completion`. */
export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/** `completion SHELL`: the shell asks this program for each word, so that what it knows is never of another version. */
export function printCompletion(io: CliIo, shell: Shell): void {
  io.out(scripts[shell]);
}

// The hidden `__complete` prints a word a line, after a tab what it means; `:files` stands for names of files.

const bash = `# bash completion of assay: source <(assay completion bash)
_assay() {
  local line files= current="\${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=()
  while IFS= read -r line; do
    if [ "$line" = ':files' ]; then files=1; else COMPREPLY+=("\${line%%$'\\t'*}"); fi
  done < <("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  if [ -n "$files" ]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$current")
  fi
}
complete -F _assay assay
`;

const zsh = `#compdef assay
# zsh completion of assay: source <(assay completion zsh), or as the file _assay in a folder of fpath
_assay() {
  local line word files=0
  local -a found
  while IFS= read -r line; do
    if [[ "$line" == ':files' ]]; then
      files=1
    else
      word="\${line%%$'\\t'*}"
      if [[ "$word" == "$line" ]]; then found+=("\${word//:/\\\\:}"); else found+=("\${word//:/\\\\:}:\${line#*$'\\t'}"); fi
    fi
  done < <("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( \${#found} )) && _describe -V assay found
  (( files )) && _files
  return 0
}
if [[ "\${funcstack[1]}" == _assay ]]; then _assay "$@"; else compdef _assay assay; fi
`;

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

const scripts: Readonly<Record<Shell, string>> = { bash, zsh, fish };
