/** Lines of a terminal and what they show, in words for a reader who sees no picture. */
interface Screen {
  readonly title: string;
  readonly description: string;
  readonly lines: readonly string[];
}

const [fontSize, lineHeight, margin] = [13, 19, 16];
/** Monospace fonts take 0.6 of their size, or less, for a character. */
const columnWidth = fontSize * 0.61;

/**
 * The picture of a terminal as SVG: text alone, so that it can be searched, in the colours of the reader's page. Commands
 * and words that name a bad state have a class of their own; nothing hangs on their colour.
 */
export function terminalSvg({ title, description, lines }: Screen): string {
  const columns = Math.max(...lines.map((line) => [...line].length));
  const width = Math.ceil(columns * columnWidth) + 2 * margin;
  const height = lines.length * lineHeight + 2 * margin;
  const texts = lines.map((line, at) => {
    const y = margin + at * lineHeight + fontSize;
    return `<text class="${classOf(line)}" x="${margin}" y="${y}" xml:space="preserve">${marked(line)}</text>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title description">`,
    `<title id="title">${escaped(title)}</title>`,
    `<desc id="description">${escaped(description)}</desc>`,
    `<style>${style}</style>`,
    `<rect class="screen" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>`,
    ...texts.filter((_, at) => lines[at] !== ''),
    '</svg>',
    '',
  ].join('\n');
}

const style = `
text { font: ${fontSize}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre; fill: #1f2328; }
.screen { fill: #f6f8fa; stroke: #d0d7de; }
.command { fill: #0550ae; }
.typed { font-weight: bold; }
.bad { fill: #b3261e; font-weight: bold; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .screen { fill: #161b22; stroke: #30363d; }
  .command { fill: #79c0ff; }
  .bad { fill: #ff7b72; }
}
`;

function classOf(line: string): string {
  if (line.startsWith('$ ')) return 'typed';
  return line.trim().startsWith('assay ') ? 'command' : 'output';
}

function marked(line: string): string {
  return escaped(line).replace(/\b(?:untrusted|kernel_unknown)\b/g, '<tspan class="bad">$&</tspan>');
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
