/** The message about a node that has used up its share of judging time. @param wait milliseconds until it is asked again */
export function spentText(node: string, wait: number): string {
  const seconds = Math.ceil(wait / 1000);
  return `${node} answers too often, or what it shows takes too long to judge: its share of the server’s time is spent, and it is asked again in ${seconds} s`;
}

/** The advice for a person on it. */
export function spentAdvice(node: string): string {
  return [
    `Nobody else can spend the share of ${node}: find out what its agent does. The log of the agent says what changed each time, and whether it starts again and again:`,
    '  journalctl -u assay-agent --since -10m',
    'If a program changes mounts, rules of the firewall or sockets all the time, stop it or let the policy leave that out.',
    'If nothing explains it, take the node out of service: whoever owns it keeps the server busy.',
  ].join('\n');
}
