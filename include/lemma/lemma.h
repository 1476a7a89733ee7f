/* lemma/lemma.h - everything: include this one.
 *
 * lemma runs language models on one's own machine.  Start with lemma/model.h and
 * examples/hello.c; lemma/error.h has the words that all headers use.
 *
 * Threads: any thread. */
#ifndef LM_LEMMA_H
#define LM_LEMMA_H

#include "lemma/error.h"
#include "lemma/interchange.h"
#include "lemma/model.h"
#include "lemma/pack.h"
#include "lemma/prepare.h"
#include "lemma/sample.h"
#include "lemma/state.h"
#include "lemma/text.h"
#include "lemma/tools.h"

#ifdef __cplusplus
extern "C" {
#endif

LM_API const char *lm_version(void); /* "0.1.0"; constant */
/* Called once by a program (never by the library): a weights file that is cut or
 * fails while it is mapped then gives LM_ERR_IO instead of ending the process.
 * Installs a handler of SIGBUS for the whole process; a SIGBUS elsewhere stays
 * fatal.  LM_ERR_IO when the system refuses the handler. */
LM_API lm_status lm_guard_mappings(lm_error *err);

#ifdef __cplusplus
}
#endif
#endif
