//! Client of the podnet agent's control socket
