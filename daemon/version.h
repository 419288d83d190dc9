/* version.h: the version that --version, the API and the log tell. */
#ifndef CPD_VERSION_H
#define CPD_VERSION_H
#define CPD_VERSION "0.2.0"
#endif
