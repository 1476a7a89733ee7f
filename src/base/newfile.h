/* base/newfile.h - a file that has no name before it is whole.
 *
 * Where the file system can (O_TMPFILE), a process that is killed or interrupted
 * while it writes leaves nothing; elsewhere the file has a temporary name meanwhile.
 *
 * Threads: any thread.
 */
#ifndef LM_BASE_NEWFILE_H
#define LM_BASE_NEWFILE_H

/* Opens a nameless file (0600) in `folder` below `dir`; -1 where that is not possible. */
int lm_nameless_open(int dir, const char *folder);
/* Gives it a name that nothing has; 0, or -1 and errno. */
int lm_nameless_link(int fd, int dir, const char *name);

/* tmp is "PATH.XXXXXX".  It stays so while the file is nameless, and names it where it
 * is not; -1: errno says why. */
int lm_newfile_open(char *tmp);
/* Names the file PATH, over what was there; 0, or -1 and errno.  Nothing is left where
 * that fails. */
int lm_newfile_name(int fd, char *tmp, const char *path);
/* Takes the temporary name away, if there is one; fd stays open. */
void lm_newfile_drop(const char *tmp);

#endif
