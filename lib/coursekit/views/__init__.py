"""Ways of looking at an answer that several exercises share; a check's record names them, no answer lives here."""
